// libtirpc's record marking and XDR as opaque types and plain functions: its own headers are
// macros over function tables and clash with libnfs's, so Swift never sees them.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- records from a stream (xdrrec) ---

typedef struct clocaliorpc_records clocaliorpc_records;

/// Takes up to `byte_count` bytes; answers how many, or -1 when the stream has ended or failed.
typedef int (*clocaliorpc_read)(void *context, void *buffer, int byte_count);

/// NULL without memory. `context` must outlive the records.
clocaliorpc_records *clocaliorpc_records_create(void *context, clocaliorpc_read read);
void clocaliorpc_records_destroy(clocaliorpc_records *records);

enum { CLOCALIORPC_ENDED = -1, CLOCALIORPC_TOO_LONG = -2, CLOCALIORPC_NO_MEMORY = -3 };

/// Reads one whole record into `*buffer` (malloc'd, grown as needed, `*capacity` bytes long).
/// Answers its length or one of the codes above; after those the stream is of no more use.
/// A length that is no multiple of four, which no XDR message has, loses its last bytes.
int64_t clocaliorpc_records_next(
    clocaliorpc_records *records, uint8_t **buffer, size_t *capacity, size_t limit);

// --- a cursor over memory (xdrmem) ---

typedef struct clocaliorpc_cursor clocaliorpc_cursor;

clocaliorpc_cursor *clocaliorpc_cursor_create(void);
void clocaliorpc_cursor_destroy(clocaliorpc_cursor *cursor);
void clocaliorpc_cursor_decode(clocaliorpc_cursor *cursor, const void *bytes, size_t byte_count);
void clocaliorpc_cursor_encode(clocaliorpc_cursor *cursor, void *bytes, size_t byte_count);
size_t clocaliorpc_cursor_position(const clocaliorpc_cursor *cursor);
bool clocaliorpc_cursor_seek(clocaliorpc_cursor *cursor, size_t position);

bool clocaliorpc_get_u32(clocaliorpc_cursor *cursor, uint32_t *value);
bool clocaliorpc_get_u64(clocaliorpc_cursor *cursor, uint64_t *value);
/// `byte_count` opaque bytes in place, and past their padding; NULL if there are fewer.
const void *clocaliorpc_get_in_place(clocaliorpc_cursor *cursor, size_t byte_count);
bool clocaliorpc_put_u32(clocaliorpc_cursor *cursor, uint32_t value);
bool clocaliorpc_put_u64(clocaliorpc_cursor *cursor, uint64_t value);
bool clocaliorpc_put_opaque(clocaliorpc_cursor *cursor, const void *bytes, size_t byte_count);

// --- call and reply messages (RFC 5531, section 9) ---

enum {
    CLOCALIORPC_MACHINE_NAME_LIMIT = 255,
    CLOCALIORPC_GROUP_LIMIT = 16,
    CLOCALIORPC_FLAVOR_NONE = 0,
    CLOCALIORPC_FLAVOR_SYS = 1,
};

typedef struct {
    uint32_t xid;
    uint32_t program;
    uint32_t version;
    uint32_t procedure;
    uint32_t flavor;
    uint32_t uid;
    uint32_t gid;
    uint32_t group_count;
    uint32_t groups[CLOCALIORPC_GROUP_LIMIT];
    char machine_name[CLOCALIORPC_MACHINE_NAME_LIMIT + 1];
} clocaliorpc_call;

typedef enum {
    CLOCALIORPC_CALL_OK = 0,
    /// Not a call at all: nothing to answer.
    CLOCALIORPC_CALL_NONSENSE,
    /// Another RPC version than 2; `xid` is set.
    CLOCALIORPC_CALL_RPC_MISMATCH,
    /// Credentials that do not decode; `xid` is set.
    CLOCALIORPC_CALL_BAD_CREDENTIALS,
    /// A flavor that this server does not speak; `xid` is set.
    CLOCALIORPC_CALL_UNKNOWN_FLAVOR,
} clocaliorpc_call_result;

/// Decodes the header; the cursor then stands at the arguments.
clocaliorpc_call_result clocaliorpc_get_call(clocaliorpc_cursor *cursor, clocaliorpc_call *call);

typedef enum {
    CLOCALIORPC_SUCCESS = 0,
    CLOCALIORPC_PROGRAM_UNAVAILABLE = 1,
    CLOCALIORPC_PROGRAM_MISMATCH = 2,
    CLOCALIORPC_PROCEDURE_UNAVAILABLE = 3,
    CLOCALIORPC_GARBAGE_ARGUMENTS = 4,
    CLOCALIORPC_SYSTEM_ERROR = 5,
} clocaliorpc_accept_status;

/// Encodes the header of an accepted reply; `low` and `high` count for PROGRAM_MISMATCH only.
/// The results of a SUCCESS are put after it.
bool clocaliorpc_put_accepted(
    clocaliorpc_cursor *cursor, uint32_t xid, clocaliorpc_accept_status status, uint32_t low,
    uint32_t high);
/// Encodes a whole denied reply for a failed `clocaliorpc_get_call`.
bool clocaliorpc_put_denied(
    clocaliorpc_cursor *cursor, uint32_t xid, clocaliorpc_call_result reason);

// --- the portmapper of this host (RFC 1833) ---

/// Registers a TCP port for a program, in place of an entry that another process left.
/// False without a portmapper, or if it refuses.
bool clocaliorpc_register(uint32_t program, uint32_t version, uint16_t port);
void clocaliorpc_unregister(uint32_t program, uint32_t version);
