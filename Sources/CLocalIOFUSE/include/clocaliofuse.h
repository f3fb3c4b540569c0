// The low-level FUSE session as opaque types, one callback with one flat operation, and plain
// replies. The receive loop puts the payload of a WRITE at the start of a page.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__swift__)
// Swift may pass the value about; taking the pointers in it out is what needs care.
#define CLFUSE_SAFE __attribute__((swift_attr("safe")))
#else
#define CLFUSE_SAFE
#endif

typedef struct clfuse_session clfuse_session;
typedef struct clfuse_request clfuse_request;
typedef struct clfuse_buffer clfuse_buffer;

typedef enum {
    CLFUSE_LOOKUP = 1,
    CLFUSE_FORGET,
    CLFUSE_GETATTR,
    CLFUSE_SETATTR,
    CLFUSE_ACCESS,
    CLFUSE_READLINK,
    CLFUSE_MKNOD,
    CLFUSE_MKDIR,
    CLFUSE_UNLINK,
    CLFUSE_RMDIR,
    CLFUSE_SYMLINK,
    CLFUSE_RENAME,
    CLFUSE_LINK,
    CLFUSE_OPEN,
    CLFUSE_CREATE,
    CLFUSE_READ,
    CLFUSE_WRITE,
    CLFUSE_FLUSH,
    CLFUSE_RELEASE,
    CLFUSE_FSYNC,
    CLFUSE_OPENDIR,
    CLFUSE_READDIR,
    CLFUSE_READDIRPLUS,
    CLFUSE_RELEASEDIR,
    CLFUSE_FSYNCDIR,
    CLFUSE_STATFS,
    CLFUSE_FALLOCATE,
    CLFUSE_LSEEK,
} clfuse_opcode;

typedef struct {
    int64_t seconds;
    uint32_t nanoseconds;
} clfuse_time;

/// A file's attributes, as the kernel is told them.
typedef struct {
    uint64_t inode;
    uint64_t size;
    uint64_t blocks;  // 512-byte units
    uint32_t mode;    // type and permissions
    uint32_t link_count;
    uint32_t uid;
    uint32_t gid;
    uint32_t device_major;
    uint32_t device_minor;
    uint32_t block_size;
    clfuse_time access, modify, change;
} clfuse_attributes;

enum {
    CLFUSE_SET_MODE = 1 << 0,
    CLFUSE_SET_UID = 1 << 1,
    CLFUSE_SET_GID = 1 << 2,
    CLFUSE_SET_SIZE = 1 << 3,
    CLFUSE_SET_ACCESS_TIME = 1 << 4,
    CLFUSE_SET_MODIFY_TIME = 1 << 5,
    CLFUSE_SET_ACCESS_NOW = 1 << 7,
    CLFUSE_SET_MODIFY_NOW = 1 << 8,
    CLFUSE_SET_CHANGE_TIME = 1 << 10,
};

/// One request of the kernel. Names and data are valid until the handler returns; data longer
/// if the handler keeps the buffer.
typedef struct CLFUSE_SAFE {
    clfuse_opcode opcode;
    clfuse_request *request;
    uint64_t node;
    uint64_t other_node;  // target directory of RENAME and LINK
    const char *name;
    const char *other_name;  // new name of RENAME, target of SYMLINK
    uint64_t file;           // what OPEN, CREATE or OPENDIR answered
    bool has_file;
    int64_t offset;       // bytes; a cookie for READDIR
    uint64_t byte_count;  // bytes; lookups for FORGET
    /// open(2) flags, renameat2(2) flags, FALLOC_FL_*, access(2) mask, SEEK_*, or for FSYNC 1
    /// when data alone is meant.
    uint32_t flags;
    uint32_t mode;
    uint32_t device_major, device_minor;
    uint32_t set;                  // CLFUSE_SET_*
    clfuse_attributes attributes;  // for SETATTR
    uint32_t uid, gid;
    int32_t pid;
    /// WRITE: the writer has no right to keep set-id bits, and the kernel leaves them to us.
    bool kills_set_ids;
    /// WRITE: the payload. READ: room for the answer. Page-aligned, in `buffer`.
    void *data;
    clfuse_buffer *buffer;
} clfuse_operation;

/// Handles one operation on a receiving thread; answers it now or later, exactly once (FORGET
/// not at all). True to keep `buffer` until `clfuse_buffer_release`.
typedef bool (*clfuse_handler)(void *context, const clfuse_operation *operation);
/// The caller of an operation has been killed. `number` is the one given to
/// `clfuse_request_watch`.
typedef void (*clfuse_killed)(void *context, uint64_t number);

typedef struct CLFUSE_SAFE {
    bool writeback_cache;
    bool read_only;
    bool debug;
    uint32_t max_background;
    uint32_t buffer_count;
    /// The kernel is asked to let open files be read and written past this program.
    bool passthrough;
    /// Comma-separated options of the mount itself (fsname, subtype, allow_other...).
    const char *mount_options;
} clfuse_configuration;

/// NULL if the library refuses the options or memory is short.
clfuse_session *clfuse_session_create(
    const clfuse_configuration *configuration, clfuse_handler handler, clfuse_killed killed,
    void *context);
/// Mounts; 0 or a negative errno.
int clfuse_session_mount(clfuse_session *session, const char *mount_point);
/// Receives and handles requests until the mount is gone; for several threads at once.
/// 0 or a negative errno.
int clfuse_session_serve(clfuse_session *session);
/// Asks the receiving threads to end after their next request.
void clfuse_session_stop(clfuse_session *session);
/// Closes the connection to the kernel: what is still mounted answers ENOTCONN.
void clfuse_session_close(clfuse_session *session);
void clfuse_session_destroy(clfuse_session *session);
/// The numbers that the kernel agreed to; 0 before its first request.
uint32_t clfuse_session_protocol_minor(clfuse_session *session);
/// Whether the kernel has agreed to passthrough; known once the mount answers.
bool clfuse_session_passes_through(clfuse_session *session);
/// Has the kernel know the open local file `fd`; its number there, or a negative errno. Needs
/// CAP_SYS_ADMIN. (Linux: fs/fuse/backing.c)
int32_t clfuse_backing_open(clfuse_session *session, int fd);
/// The number is not for new opens any more; files opened with it keep it.
void clfuse_backing_close(clfuse_session *session, int32_t backing);
/// Buffers in use by operations, and how many there are.
void clfuse_buffer_counts(clfuse_session *session, uint32_t *used, uint32_t *total);

void clfuse_buffer_release(clfuse_buffer *buffer);

/// The supplementary groups of the caller; their number, at most `capacity`, or a negative errno.
int clfuse_request_groups(clfuse_request *request, uint32_t *groups, int capacity);
/// From now on the session's `killed` is told `number` when the caller was killed.
void clfuse_request_watch(clfuse_request *request, uint64_t number);

// --- replies: each uses the request up; 0 or a negative errno if the kernel did not take it ---

int clfuse_reply_error(clfuse_request *request, int error);
int clfuse_reply_entry(
    clfuse_request *request, uint64_t node, const clfuse_attributes *attributes,
    double entry_seconds, double attribute_seconds);
enum { CLFUSE_OPEN_DIRECT = 1, CLFUSE_OPEN_KEEP_CACHE = 2 };
/// How the kernel is to treat an open file: CLFUSE_OPEN_*, and the local file that it reads and
/// writes by itself (`clfuse_backing_open`) or 0.
typedef struct {
    uint32_t flags;
    int32_t backing;
} clfuse_open;
int clfuse_reply_create(
    clfuse_request *request, uint64_t node, const clfuse_attributes *attributes,
    double entry_seconds, double attribute_seconds, uint64_t file, clfuse_open open);
int clfuse_reply_open(clfuse_request *request, uint64_t file, clfuse_open open);
int clfuse_reply_attributes(
    clfuse_request *request, const clfuse_attributes *attributes, double attribute_seconds);
int clfuse_reply_link(clfuse_request *request, const char *target);
int clfuse_reply_written(clfuse_request *request, size_t byte_count);
int clfuse_reply_data(clfuse_request *request, const void *data, size_t byte_count);
int clfuse_reply_offset(clfuse_request *request, int64_t offset);

typedef struct {
    uint32_t block_size;
    uint32_t fragment_size;
    uint64_t blocks, free_blocks, available_blocks;
    uint64_t files, free_files;
    uint32_t name_limit;
} clfuse_statistics;
int clfuse_reply_statistics(clfuse_request *request, const clfuse_statistics *statistics);

/// Appends an entry to a READDIR answer; the bytes it takes, more than `capacity` if it does not
/// fit (then nothing is written).
size_t clfuse_add_entry(
    clfuse_request *request, char *target, size_t capacity, const char *name,
    const clfuse_attributes *attributes, int64_t next_cookie);
/// The same for READDIRPLUS; `node` 0 for an entry without one.
size_t clfuse_add_entry_plus(
    clfuse_request *request, char *target, size_t capacity, const char *name, uint64_t node,
    const clfuse_attributes *attributes, double entry_seconds, double attribute_seconds,
    int64_t next_cookie);
