// libtirpc's client side over one TCP connection, for programs with opaque arguments and void
// results; no header of libtirpc shows.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct clocaliorpc_client clocaliorpc_client;

/// Gives a socket that is not connected yet a port below 1024, if one is free and the caller may.
void clocaliorpc_bind_privileged(int fd);

/// A client of one program over the connected TCP socket `fd`, which it owns from now on and
/// closes, also when it fails. NULL with a one-line reason in `reason`.
///
/// One caller at a time, in the whole process: libtirpc keeps tables of descriptors. The calling
/// thread should have SIGPIPE blocked.
clocaliorpc_client *clocaliorpc_client_create(
    int fd, uint32_t program, uint32_t version, char *reason, size_t capacity);
void clocaliorpc_client_destroy(clocaliorpc_client *client);

typedef enum {
    CLOCALIORPC_CALL_ANSWERED = 0,
    /// No answer in time.
    CLOCALIORPC_CALL_TIMED_OUT,
    /// The server has no such program, version or procedure.
    CLOCALIORPC_CALL_UNAVAILABLE,
    /// The connection broke; the server may have carried the call out.
    CLOCALIORPC_CALL_BROKEN,
    /// Anything else; the reason says what.
    CLOCALIORPC_CALL_FAILED,
} clocaliorpc_call_status;

/// Who calls: AUTH_SYS (RFC 5531, appendix A), at most 16 groups.
typedef struct {
    uint32_t uid, gid;
    const uint32_t *groups;
    int group_count;
} clocaliorpc_caller;

/// Calls a procedure as `caller` with arguments that are encoded already; of the results the first
/// word alone is read.
clocaliorpc_call_status clocaliorpc_client_call_as(
    clocaliorpc_client *client, const clocaliorpc_caller *caller, uint32_t procedure,
    const void *arguments, size_t byte_count, int64_t timeout_nanoseconds, uint32_t *first_word,
    char *reason, size_t capacity);

/// Calls a procedure with `byte_count` fixed opaque bytes (none: void) and void results.
clocaliorpc_call_status clocaliorpc_client_call(
    clocaliorpc_client *client, uint32_t procedure, const void *bytes, size_t byte_count,
    int64_t timeout_nanoseconds, char *reason, size_t capacity);
