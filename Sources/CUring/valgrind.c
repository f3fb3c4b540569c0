// Lets programs with rings run under Valgrind, which takes its functions in place of liburing's
// by their names and only there; nobody else calls them. Valgrind 3.19 believes that
// io_uring_enter(2) never sleeps and lets no other thread run while one waits in it. These
// sleep in ppoll(2) on an eventfd that the ring rings, and enter the kernel without waiting.
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>

// "vgr" replaces; "liburingZdsoZa" is the encoded pattern "liburing.so*".
#define REPLACES(name) _vgr00000ZU_liburingZdsoZa_##name
// Kept although nothing refers to it.
#define KEPT __attribute__((used, retain, visibility("default")))

int REPLACES(io_uring_submit_and_wait)(struct io_uring *ring, unsigned minimum);
int REPLACES(io_uring_submit_and_wait_timeout)(
    struct io_uring *ring, struct io_uring_cqe **first, unsigned minimum,
    struct __kernel_timespec *timeout, sigset_t *signals);

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

// One for all rings of a thread. Polling the ring itself sleeps through deferred task work.
static __thread int doorbell = -1;

// Looks anyway after so many nanoseconds: some completions are told without the bell.
enum { LOOK = 5000000 };

// Until `minimum` completions are there: 0, or a negative errno. -1 waits without limit.
static int wait_for(struct io_uring *ring, unsigned minimum, int64_t nanoseconds) {
    if (io_uring_cq_ready(ring) >= minimum) return 0;
    if (doorbell < 0) doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (doorbell < 0) return -errno;
    // EBUSY: an earlier wait has done it.
    int status = io_uring_register_eventfd(ring, doorbell);
    if (status < 0 && status != -EBUSY) return status;
    const int64_t end = nanoseconds < 0 ? INT64_MAX : now() + nanoseconds;
    while (true) {
        // In this order no ring of the bell is lost: what it announced is fetched afterwards.
        eventfd_t rings;
        eventfd_read(doorbell, &rings);
        status = io_uring_get_events(ring);
        if (status < 0) return status;
        if (io_uring_cq_ready(ring) >= minimum) return 0;
        const int64_t left = nanoseconds < 0 ? LOOK : end - now();
        if (left < 0) return -ETIME;
        struct timespec limit = {.tv_nsec = left < LOOK ? left : LOOK};
        struct pollfd descriptor = {.fd = doorbell, .events = POLLIN};
        if (ppoll(&descriptor, 1, &limit, NULL) < 0) return -errno;
    }
}

KEPT int REPLACES(io_uring_submit_and_wait)(struct io_uring *ring, unsigned minimum) {
    const int submitted = io_uring_submit(ring);
    if (submitted < 0) return submitted;
    const int status = wait_for(ring, minimum, -1);
    return status < 0 ? status : submitted;
}

KEPT int REPLACES(io_uring_submit_and_wait_timeout)(
    struct io_uring *ring, struct io_uring_cqe **first, unsigned minimum,
    struct __kernel_timespec *timeout, sigset_t *signals) {
    (void)signals;
    const int submitted = io_uring_submit(ring);
    if (submitted < 0) return submitted;
    const int64_t limit =
        timeout == NULL ? -1 : (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    const int status = wait_for(ring, minimum, limit);
    if (status < 0) return status;
    *first = NULL;
    io_uring_peek_cqe(ring, first);
    return submitted;
}
