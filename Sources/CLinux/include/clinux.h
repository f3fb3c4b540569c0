// Linux calls and constants that the Glibc module cannot show to Swift: everything with a
// macro, a struct newer than Debian 12's headers, or a per-thread system call.
#pragma once
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// --- statx with direct I/O geometry (include/uapi/linux/stat.h) ---

typedef struct {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    uint64_t blocks;  // 512-byte units
    uint32_t mode;
    uint32_t link_count;
    uint32_t uid;
    uint32_t gid;
    uint32_t device_major;  // of a device file
    uint32_t device_minor;
    uint32_t block_size;
    int64_t access_seconds;
    uint32_t access_nanoseconds;
    int64_t modify_seconds;
    uint32_t modify_nanoseconds;
    int64_t change_seconds;
    uint32_t change_nanoseconds;
    int64_t birth_seconds;
    uint32_t birth_nanoseconds;
    bool has_birth_time;
    bool has_dio_alignment;         // the kernel answered STATX_DIOALIGN
    uint32_t dio_memory_alignment;  // bytes; 0: no direct I/O on this file
    uint32_t dio_offset_alignment;
    bool has_dio_read_alignment;  // STATX_DIO_READ_ALIGN, Linux 6.14
    uint32_t dio_read_offset_alignment;
} clinux_stat;

/// 0 or a negative errno. `path` may be NULL or "" to ask about `directory_fd` itself.
int clinux_statx(int directory_fd, const char *path, bool no_follow, clinux_stat *out);

// --- opening ---

extern const int clinux_o_direct;
extern const int clinux_o_path;
extern const int clinux_o_nofollow;
extern const int clinux_o_directory;
extern const int clinux_o_cloexec;

/// openat2(2) with RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS|RESOLVE_NO_MAGICLINKS.
/// A descriptor or a negative errno.
int clinux_open_beneath(int directory_fd, const char *path, int flags, mode_t mode);

/// name_to_handle_at(2) on `fd` itself (directory_fd with an empty path) or on a name in it.
/// Writes at most `capacity` bytes; answers the length or a negative errno.
int clinux_name_to_handle(
    int directory_fd, const char *path, int32_t *handle_type, uint8_t *handle, int capacity);

/// open_by_handle_at(2); needs CAP_DAC_READ_SEARCH. A descriptor or a negative errno.
int clinux_open_by_handle(
    int mount_fd, int32_t handle_type, const uint8_t *handle, int length, int flags);

// --- reading and writing at an offset with RWF_ flags ---

extern const int clinux_rwf_nowait;
extern const int clinux_rwf_dsync;
extern const int clinux_rwf_sync;
extern const int clinux_rwf_dontcache;  // Linux 6.14

/// preadv2/pwritev2 with one buffer; bytes or a negative errno.
int64_t clinux_pread2(int fd, void *buffer, size_t byte_count, int64_t offset, int flags);
int64_t clinux_pwrite2(int fd, const void *buffer, size_t byte_count, int64_t offset, int flags);

/// Reads from the kernel's page cache if it holds the whole range now; brings nothing into it and
/// does not wait. `fd` is open without O_DIRECT. Bytes (fewer than asked at the end of the file),
/// -EAGAIN if the range is not cached, or the errno of cachestat(2): ENOSYS before Linux 6.5,
/// EPERM where the caller may neither write nor own the file.
int64_t clinux_pread_cached(int fd, void *buffer, size_t byte_count, int64_t offset);

// --- this thread ---

/// prctl(PR_SET_IO_FLUSHER, on) for the calling thread; 0 or a negative errno.
int clinux_set_io_flusher(bool on);
/// prctl(PR_GET_IO_FLUSHER); 0, 1 or a negative errno.
int clinux_get_io_flusher(void);
pid_t clinux_gettid(void);
void clinux_set_thread_name(const char *name);
/// CPU time of the calling thread, and of the process, in nanoseconds.
uint64_t clinux_thread_cpu_nanoseconds(void);
uint64_t clinux_process_cpu_nanoseconds(void);
uint64_t clinux_monotonic_nanoseconds(void);
/// Since 1970, as the times of files are.
uint64_t clinux_realtime_nanoseconds(void);
/// Bytes that malloc has handed out and not got back, in all its arenas.
uint64_t clinux_heap_bytes(void);

/// The calling thread alone takes these ids for file access (raw setfsuid, setfsgid and
/// setgroups: glibc's wrappers would change the whole process). 0 or a negative errno.
int clinux_set_thread_filesystem_ids(
    uint32_t uid, uint32_t gid, const uint32_t *groups, int group_count);

/// A word of the calling thread for whoever simulates its waiting; NULL in a real program.
void *clinux_thread_simulator(void);
void clinux_set_thread_simulator(void *simulator);
/// Keeps the calling thread on one of the CPUs it may use (`choice` modulo their number).
void clinux_pin_thread(int choice);

// --- waiting ---

/// sem_clockwait on the monotonic clock, restarted after signals; false after the time-out.
bool clinux_semaphore_wait(sem_t *semaphore, int64_t nanoseconds);

/// FUTEX_WAIT_PRIVATE while the word is `expected`; comes back for any reason.
void clinux_futex_wait(const void *word, uint32_t expected);
/// FUTEX_WAKE_PRIVATE of one waiter. The word's memory may be gone already: then nobody wakes.
void clinux_futex_wake_one(const void *word);

// --- eventfd ---

int clinux_eventfd(bool nonblocking);
/// Adds one; 0 or a negative errno. Safe from any thread and from a signal handler.
int clinux_eventfd_ring(int fd);
/// Takes the count; 0 or a negative errno.
int clinux_eventfd_drain(int fd);

// --- memory ---

/// Bytes of a huge page of x86-64, and of arm64 with pages of 4 KiB.
enum { clinux_huge_page_bytes = 2 << 20 };
/// Page-aligned, zeroed, private memory; NULL on failure.
void *clinux_map_memory(size_t byte_count);
/// The same for what large I/O is done with: huge pages where the system gives them (of 2 MiB or
/// more), since a direct I/O then has a piece or two for the device instead of one per 4 KiB.
void *clinux_map_io_memory(size_t byte_count);
/// Of either kind.
void clinux_unmap_memory(void *address, size_t byte_count);
/// mlock; 0 or a negative errno.
int clinux_lock_memory(void *address, size_t byte_count);
/// Touches and locks 64 KiB of the calling thread's stack, so that it meets no page fault
/// there later; 0 or a negative errno of mlock.
int clinux_lock_stack(void);
/// Sleeps until `fd` is readable or `nanoseconds` have passed (negative: no limit).
void clinux_wait_readable(int fd, int64_t nanoseconds);

/// fallocate(2) with FALLOC_FL_* mode; 0 or a negative errno.
int clinux_fallocate(int fd, int mode, int64_t offset, int64_t byte_count);
