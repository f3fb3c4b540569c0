#include "curing.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Setup flags by number: include/uapi/linux/io_uring.h of kernels newer than our headers.
enum {
    SETUP_CQ_SIZE = 1U << 3,
    SETUP_CLAMP = 1U << 4,
    SETUP_DISABLED = 1U << 6,
    SETUP_COOP_TASKRUN = 1U << 8,
    SETUP_TASKRUN_FLAG = 1U << 9,
    SETUP_SINGLE_ISSUER = 1U << 12,
    SETUP_DEFER_TASKRUN = 1U << 13,
    REGISTER_ENABLE_RINGS = 12,
};

struct curing {
    struct io_uring ring;
    unsigned flags;
    bool ring_registered;
    pid_t owner;
};

// Rings are made and ended one at a time. liburing maps and unmaps their memory by system calls of
// its own, which Thread Sanitizer does not see: without this a ring at the address of one that is
// gone looks like a race of their owners.
static pthread_mutex_t lifetimes = PTHREAD_MUTEX_INITIALIZER;

static pid_t this_thread(void) { return (pid_t)syscall(SYS_gettid); }

curing *curing_create(unsigned entries, bool one_thread, int *error) {
    curing *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    // From what serves best to what every kernel since 5.11 knows. SETUP_TASKRUN_FLAG makes
    // pending deferred work visible to a reap that does not wait.
    const unsigned base = SETUP_CQ_SIZE | SETUP_CLAMP;
    const unsigned choices[] = {
        base | SETUP_DISABLED | SETUP_TASKRUN_FLAG |
            (one_thread ? SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN : SETUP_COOP_TASKRUN),
        base | SETUP_DISABLED | SETUP_TASKRUN_FLAG | SETUP_COOP_TASKRUN,
        base | SETUP_DISABLED,
    };
    int status = -EINVAL;
    const unsigned count = sizeof choices / sizeof *choices;
    for (unsigned index = 0; status == -EINVAL && index < count; index++) {
        struct io_uring_params parameters;
        memset(&parameters, 0, sizeof parameters);
        parameters.flags = choices[index];
        parameters.cq_entries = 2 * entries + 16;
        pthread_mutex_lock(&lifetimes);
        status = io_uring_queue_init_params(entries, &ring->ring, &parameters);
        pthread_mutex_unlock(&lifetimes);
        ring->flags = choices[index];
    }
    if (status < 0) {
        free(ring);
        *error = status;
        return NULL;
    }
    *error = 0;
    return ring;
}

int curing_start(curing *ring) {
    // io_uring_enable_rings is declared and not exported in liburing 2.3.
    int status = io_uring_register(ring->ring.ring_fd, REGISTER_ENABLE_RINGS, NULL, 0);
    if (status < 0) return status;
    ring->ring.flags &= ~(unsigned)SETUP_DISABLED;
    ring->owner = this_thread();
    // A registered ring descriptor belongs to its thread; without one, entering is only slower.
    if (ring->flags & SETUP_SINGLE_ISSUER)
        ring->ring_registered = io_uring_register_ring_fd(&ring->ring) == 1;
    return 0;
}

void curing_destroy(curing *ring) {
    // Another thread must not give back an index in its own table of ring descriptors; the
    // owner's table goes with the owner.
    if (ring->ring_registered && ring->owner != this_thread()) ring->ring.int_flags = 0;
    pthread_mutex_lock(&lifetimes);
    io_uring_queue_exit(&ring->ring);
    pthread_mutex_unlock(&lifetimes);
    free(ring);
}

bool curing_is_deferred(const curing *ring) { return (ring->flags & SETUP_DEFER_TASKRUN) != 0; }

int curing_register_buffers(curing *ring, const curing_buffer *buffers, unsigned count) {
    enum { LIMIT = 64 };
    struct iovec vectors[LIMIT];
    if (count > LIMIT) return -E2BIG;
    for (unsigned index = 0; index < count; index++) {
        vectors[index].iov_base = buffers[index].address;
        vectors[index].iov_len = buffers[index].byte_count;
    }
    return io_uring_register_buffers(&ring->ring, vectors, count);
}

static bool prepare(
    curing *ring, int plain, int fixed, int fd, const void *address, unsigned byte_count,
    uint64_t offset, int buffer_index, int rw_flags, uint64_t user_data) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    if (entry == NULL) return false;
    io_uring_prep_rw(buffer_index < 0 ? plain : fixed, entry, fd, address, byte_count, offset);
    if (buffer_index >= 0) entry->buf_index = (uint16_t)buffer_index;
    entry->rw_flags = rw_flags;
    entry->user_data = user_data;
    return true;
}

bool curing_prepare_read(
    curing *ring, int fd, void *address, unsigned byte_count, uint64_t offset, int buffer_index,
    int rw_flags, uint64_t user_data) {
    return prepare(
        ring, IORING_OP_READ, IORING_OP_READ_FIXED, fd, address, byte_count, offset, buffer_index,
        rw_flags, user_data);
}

bool curing_prepare_write(
    curing *ring, int fd, const void *address, unsigned byte_count, uint64_t offset,
    int buffer_index, int rw_flags, uint64_t user_data) {
    return prepare(
        ring, IORING_OP_WRITE, IORING_OP_WRITE_FIXED, fd, address, byte_count, offset,
        buffer_index, rw_flags, user_data);
}

bool curing_prepare_fsync(curing *ring, int fd, bool data_only, uint64_t user_data) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    if (entry == NULL) return false;
    io_uring_prep_fsync(entry, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
    entry->user_data = user_data;
    return true;
}

bool curing_prepare_poll(curing *ring, int fd, uint64_t user_data) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    if (entry == NULL) return false;
    io_uring_prep_poll_multishot(entry, fd, POLLIN);
    entry->user_data = user_data;
    return true;
}

bool curing_prepare_cancel(curing *ring, uint64_t target, uint64_t user_data) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    if (entry == NULL) return false;
    io_uring_prep_cancel64(entry, target, 0);
    entry->user_data = user_data;
    return true;
}

unsigned curing_unsubmitted(const curing *ring) { return io_uring_sq_ready(&ring->ring); }
unsigned curing_space(const curing *ring) { return io_uring_sq_space_left(&ring->ring); }

int curing_submit(curing *ring) { return io_uring_submit(&ring->ring); }

int curing_submit_and_wait(curing *ring, unsigned minimum, int64_t nanoseconds) {
    if (nanoseconds < 0) return io_uring_submit_and_wait(&ring->ring, minimum);
    struct __kernel_timespec timeout = {
        .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    struct io_uring_cqe *first = NULL;
    return io_uring_submit_and_wait_timeout(&ring->ring, &first, minimum, &timeout, NULL);
}

unsigned curing_reap(curing *ring, curing_completion *completions, unsigned capacity) {
    enum { BATCH = 64 };
    struct io_uring_cqe *entries[BATCH];
    unsigned count =
        io_uring_peek_batch_cqe(&ring->ring, entries, capacity < BATCH ? capacity : BATCH);
    for (unsigned index = 0; index < count; index++) {
        completions[index].user_data = entries[index]->user_data;
        completions[index].result = entries[index]->res;
        completions[index].more = (entries[index]->flags & IORING_CQE_F_MORE) != 0;
    }
    io_uring_cq_advance(&ring->ring, count);
    return count;
}
