// Linux calls of a file server: work on an O_PATH descriptor, inside one mount, as one thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// openat2(2) of one name with RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS|RESOLVE_NO_XDEV: a symbolic
/// link opens only as itself (O_PATH|O_NOFOLLOW), a mount point not at all (-EXDEV).
/// A descriptor or a negative errno.
int clinux_open_in_mount(int directory_fd, const char *name, int flags, mode_t mode);

/// A new descriptor for what `fd` names (also an O_PATH one), or a negative errno.
int clinux_reopen(int fd, int flags);

/// faccessat2(2) on `fd` itself with the ids that this thread uses for files; 0 or a negative
/// errno. `mode` is made of R_OK, W_OK and X_OK.
int clinux_access(int fd, int mode);

/// getdents64(2): bytes, 0 at the end, or a negative errno.
int64_t clinux_read_directory(int fd, void *buffer, size_t byte_count);

/// One record of `clinux_read_directory`.
typedef struct {
    uint64_t inode;
    uint64_t next_offset;
    size_t record_length;
    size_t name_length;
    bool may_be_directory;
    const char *name;
} clinux_directory_entry;

/// The record at `buffer`; false if fewer than a whole one is left.
bool clinux_directory_record(
    const void *buffer, size_t byte_count, clinux_directory_entry *entry);

/// Changes what an O_PATH descriptor names; 0 or a negative errno.
int clinux_change_owner(int fd, uint32_t uid, uint32_t gid);
int clinux_change_mode(int fd, mode_t mode);

enum { CLINUX_TIME_KEEP = 0, CLINUX_TIME_NOW = 1, CLINUX_TIME_SET = 2 };
typedef struct {
    int how;
    int64_t seconds;
    uint32_t nanoseconds;
} clinux_time;
int clinux_change_times(int fd, clinux_time access, clinux_time modify);

/// renameat2(2) with RENAME_* flags; 0 or a negative errno.
int clinux_rename(const char *from, const char *to, unsigned flags);

/// linkat(2) of what `fd` names, a symbolic link as itself; 0 or a negative errno.
int clinux_link(int fd, int directory_fd, const char *name);
int clinux_make_device(
    int directory_fd, const char *name, mode_t mode, uint32_t major, uint32_t minor);

/// accept4(2), non-blocking and close-on-exec; writes the peer's address in numbers to `host`.
/// A descriptor or a negative errno.
int clinux_accept(int listening_socket, char *host, size_t capacity);

/// Gives this thread its own working directory and umask, and sets the umask to 0.
void clinux_clear_thread_umask(void);
