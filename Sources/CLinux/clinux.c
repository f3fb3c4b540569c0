#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

// The kernel's statx, newer than Debian 12's headers: the same 256 bytes, more of them named.
typedef struct {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t link_count, uid, gid;
    uint16_t mode, spare0;
    uint64_t inode, size, blocks, attributes_mask;
    struct kernel_time {
        int64_t seconds;
        uint32_t nanoseconds;
        int32_t reserved;
    } access_time, birth_time, change_time, modify_time;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mount_id;
    uint32_t dio_memory_align, dio_offset_align;
    uint64_t subvolume;
    uint32_t atomic_min, atomic_max, atomic_segments, dio_read_offset_align;
    uint64_t spare[9];
} kernel_statx;

_Static_assert(sizeof(kernel_statx) == 0x100, "statx is 256 bytes");

enum {
    KERNEL_STATX_BTIME = 0x800,
    KERNEL_STATX_DIOALIGN = 0x2000,
    KERNEL_STATX_DIO_READ_ALIGN = 0x20000,
};

static int answer(long result) { return result < 0 ? -errno : (int)result; }

int clinux_statx(int directory_fd, const char *path, bool no_follow, clinux_stat *out) {
    kernel_statx raw;
    memset(&raw, 0, sizeof raw);
    bool self = path == NULL || path[0] == '\0';
    int flags = (self ? AT_EMPTY_PATH : 0) | (no_follow ? AT_SYMLINK_NOFOLLOW : 0);
    unsigned mask =
        0x7ff | KERNEL_STATX_BTIME | KERNEL_STATX_DIOALIGN | KERNEL_STATX_DIO_READ_ALIGN;
    if (syscall(SYS_statx, directory_fd, self ? "" : path, flags, mask, &raw) < 0) return -errno;
    *out = (clinux_stat){
        .device = ((uint64_t)raw.dev_major << 32) | raw.dev_minor,
        .inode = raw.inode,
        .size = raw.size,
        .blocks = raw.blocks,
        .mode = raw.mode,
        .link_count = raw.link_count,
        .uid = raw.uid,
        .gid = raw.gid,
        .device_major = raw.rdev_major,
        .device_minor = raw.rdev_minor,
        .block_size = raw.block_size,
        .access_seconds = raw.access_time.seconds,
        .access_nanoseconds = raw.access_time.nanoseconds,
        .modify_seconds = raw.modify_time.seconds,
        .modify_nanoseconds = raw.modify_time.nanoseconds,
        .change_seconds = raw.change_time.seconds,
        .change_nanoseconds = raw.change_time.nanoseconds,
        .birth_seconds = raw.birth_time.seconds,
        .birth_nanoseconds = raw.birth_time.nanoseconds,
        .has_birth_time = (raw.mask & KERNEL_STATX_BTIME) != 0,
        .has_dio_alignment = (raw.mask & KERNEL_STATX_DIOALIGN) != 0,
        .dio_memory_alignment = raw.dio_memory_align,
        .dio_offset_alignment = raw.dio_offset_align,
        .has_dio_read_alignment = (raw.mask & KERNEL_STATX_DIO_READ_ALIGN) != 0,
        .dio_read_offset_alignment = raw.dio_read_offset_align,
    };
    return 0;
}

const int clinux_o_direct = O_DIRECT;
const int clinux_o_path = O_PATH;
const int clinux_o_nofollow = O_NOFOLLOW;
const int clinux_o_directory = O_DIRECTORY;
const int clinux_o_cloexec = O_CLOEXEC;

int clinux_open_beneath(int directory_fd, const char *path, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd;
    // EAGAIN: a rename elsewhere raced with the walk; the manual asks for a bounded retry.
    for (int attempt = 0; attempt < 64; attempt++) {
        fd = syscall(SYS_openat2, directory_fd, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return answer(fd);
}

enum { HANDLE_LIMIT = 128 };

int clinux_name_to_handle(
    int directory_fd, const char *path, int32_t *handle_type, uint8_t *handle, int capacity) {
    union {
        struct file_handle header;
        uint8_t bytes[sizeof(struct file_handle) + HANDLE_LIMIT];
    } raw;
    memset(&raw, 0, sizeof raw);
    raw.header.handle_bytes = HANDLE_LIMIT;
    int mount_id = 0;
    bool self = path == NULL || path[0] == '\0';
    if (name_to_handle_at(
            directory_fd, self ? "" : path, &raw.header, &mount_id, self ? AT_EMPTY_PATH : 0) < 0)
        return -errno;
    if ((int)raw.header.handle_bytes > capacity) return -EOVERFLOW;
    *handle_type = raw.header.handle_type;
    memcpy(handle, raw.header.f_handle, raw.header.handle_bytes);
    return (int)raw.header.handle_bytes;
}

int clinux_open_by_handle(
    int mount_fd, int32_t handle_type, const uint8_t *handle, int length, int flags) {
    union {
        struct file_handle header;
        uint8_t bytes[sizeof(struct file_handle) + HANDLE_LIMIT];
    } raw;
    if (length < 0 || length > HANDLE_LIMIT) return -EINVAL;
    memset(&raw, 0, sizeof raw);
    raw.header.handle_bytes = (unsigned)length;
    raw.header.handle_type = handle_type;
    memcpy(raw.header.f_handle, handle, (size_t)length);
    return answer(open_by_handle_at(mount_fd, &raw.header, flags | O_CLOEXEC));
}

const int clinux_rwf_nowait = 0x8;
const int clinux_rwf_dsync = 0x2;
const int clinux_rwf_sync = 0x4;
const int clinux_rwf_dontcache = 0x80;

int64_t clinux_pread2(int fd, void *buffer, size_t byte_count, int64_t offset, int flags) {
    struct iovec vector = {.iov_base = buffer, .iov_len = byte_count};
    ssize_t result;
    do result = preadv2(fd, &vector, 1, offset, flags);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int64_t clinux_pwrite2(int fd, const void *buffer, size_t byte_count, int64_t offset, int flags) {
    struct iovec vector = {.iov_base = (void *)buffer, .iov_len = byte_count};
    ssize_t result;
    do result = pwritev2(fd, &vector, 1, offset, flags);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

// Not in the headers of every distribution that the kernels run on.
enum { sys_cachestat = 451 };
struct cachestat_range { uint64_t offset, length; };
struct cachestat_counts { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

int64_t clinux_pread_cached(int fd, void *buffer, size_t byte_count, int64_t offset) {
    const long page = sysconf(_SC_PAGESIZE);
    struct cachestat_range range = {(uint64_t)offset, byte_count};
    struct cachestat_counts counts = {0};
    if (syscall(sys_cachestat, fd, &range, &counts, 0U) < 0) return -errno;
    uint64_t first = (uint64_t)offset / (uint64_t)page;
    uint64_t last = ((uint64_t)offset + byte_count - 1) / (uint64_t)page;
    // RWF_NOWAIT alone would start read-ahead of what is missing (mm/filemap.c).
    if (counts.cached < last - first + 1) return -EAGAIN;
    return clinux_pread2(fd, buffer, byte_count, offset, clinux_rwf_nowait);
}

// The unused arguments must be zeros, or the kernel answers EINVAL (kernel/sys.c).
int clinux_set_io_flusher(bool on) {
    return answer(prctl(PR_SET_IO_FLUSHER, (unsigned long)on, 0UL, 0UL, 0UL));
}
int clinux_get_io_flusher(void) { return answer(prctl(PR_GET_IO_FLUSHER, 0UL, 0UL, 0UL, 0UL)); }

pid_t clinux_gettid(void) { return (pid_t)syscall(SYS_gettid); }

void clinux_set_thread_name(const char *name) {
    char short_name[16] = {0};
    strncpy(short_name, name, sizeof short_name - 1);
    pthread_setname_np(pthread_self(), short_name);
}

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}
uint64_t clinux_thread_cpu_nanoseconds(void) { return nanoseconds(CLOCK_THREAD_CPUTIME_ID); }
uint64_t clinux_process_cpu_nanoseconds(void) { return nanoseconds(CLOCK_PROCESS_CPUTIME_ID); }
uint64_t clinux_monotonic_nanoseconds(void) { return nanoseconds(CLOCK_MONOTONIC); }
uint64_t clinux_realtime_nanoseconds(void) { return nanoseconds(CLOCK_REALTIME); }

uint64_t clinux_heap_bytes(void) {
    struct mallinfo2 info = mallinfo2();
    // Large blocks are mapped by themselves and counted apart.
    return (uint64_t)info.uordblks + (uint64_t)info.hblkhd;
}

int clinux_set_thread_filesystem_ids(
    uint32_t uid, uint32_t gid, const uint32_t *groups, int group_count) {
    // Groups first and uid last: setfsuid away from 0 drops the right to change groups. Coming
    // back, fsuid 0 must be regained before the groups are set.
    syscall(SYS_setfsuid, 0);
    if (syscall(SYS_setgroups, (size_t)group_count, groups) < 0) return -errno;
    syscall(SYS_setfsgid, gid);
    syscall(SYS_setfsuid, uid);
    // setfsuid answers the previous id and no error: asking with -1 reads it back.
    if ((uint32_t)syscall(SYS_setfsgid, -1) != gid) return -EPERM;
    if ((uint32_t)syscall(SYS_setfsuid, -1) != uid) return -EPERM;
    return 0;
}

static __thread void *thread_simulator;
void *clinux_thread_simulator(void) { return thread_simulator; }
void clinux_set_thread_simulator(void *simulator) { thread_simulator = simulator; }

void clinux_pin_thread(int choice) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    int left = choice % (CPU_COUNT(&allowed) > 0 ? CPU_COUNT(&allowed) : 1);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || left-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

void clinux_futex_wait(const void *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}
void clinux_futex_wake_one(const void *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool clinux_semaphore_wait(sem_t *semaphore, int64_t nanoseconds) {
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    int64_t sum = deadline.tv_nsec + nanoseconds % 1000000000;
    deadline.tv_sec += nanoseconds / 1000000000 + sum / 1000000000;
    deadline.tv_nsec = sum % 1000000000;
    while (sem_clockwait(semaphore, CLOCK_MONOTONIC, &deadline) < 0)
        if (errno != EINTR) return false;
    return true;
}

int clinux_eventfd(bool nonblocking) {
    return answer(eventfd(0, EFD_CLOEXEC | (nonblocking ? EFD_NONBLOCK : 0)));
}
int clinux_eventfd_ring(int fd) {
    uint64_t one = 1;
    ssize_t result;
    do result = write(fd, &one, sizeof one);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}
int clinux_eventfd_drain(int fd) {
    uint64_t count;
    ssize_t result;
    do result = read(fd, &count, sizeof count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

void *clinux_map_memory(size_t byte_count) {
    void *address = mmap(
        NULL, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}
void *clinux_map_io_memory(size_t byte_count) {
    if (byte_count < clinux_huge_page_bytes) return clinux_map_memory(byte_count);
    // Kernels before 6.7 do not begin a mapping at a huge page by themselves.
    char *mapped = clinux_map_memory(byte_count + clinux_huge_page_bytes);
    if (mapped == NULL) return NULL;
    size_t past = (uintptr_t)mapped % clinux_huge_page_bytes;
    size_t before = past > 0 ? clinux_huge_page_bytes - past : 0;
    size_t used = (byte_count + 4095) / 4096 * 4096;
    char *address = mapped + before;
    if (before > 0) munmap(mapped, before);
    munmap(address + used, clinux_huge_page_bytes - before);
    // A wish: without huge pages the memory serves as well and costs more per I/O.
    madvise(address, used, MADV_HUGEPAGE);
    return address;
}
void clinux_unmap_memory(void *address, size_t byte_count) { munmap(address, byte_count); }
int clinux_lock_memory(void *address, size_t byte_count) {
    return answer(mlock(address, byte_count));
}
__attribute__((noinline)) int clinux_lock_stack(void) {
    enum { STACK_BYTES = 64 * 1024 };
    volatile char stack[STACK_BYTES];
    for (size_t index = 0; index < sizeof stack; index += 4096) stack[index] = 0;
    return clinux_lock_memory((void *)stack, sizeof stack);
}
void clinux_wait_readable(int fd, int64_t nanoseconds) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    struct timespec timeout = {
        .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    ppoll(&watched, 1, nanoseconds < 0 ? NULL : &timeout, NULL);
}

int clinux_fallocate(int fd, int mode, int64_t offset, int64_t byte_count) {
    int result;
    do result = fallocate(fd, mode, offset, byte_count);
    while (result < 0 && errno == EINTR);
    return answer(result);
}
