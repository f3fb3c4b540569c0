// A narrow fence around liburing: one opaque ring and the few calls that DirectIO makes.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct curing curing;

typedef struct {
    uint64_t user_data;
    int32_t result;   // bytes or a negative errno
    bool more;        // a multishot request stays armed
} curing_completion;

typedef struct {
    void *address;
    size_t byte_count;
} curing_buffer;

/// A ring for `entries` submissions, not yet started; NULL and a negative errno in `error` if the
/// kernel refuses. With `one_thread`, SINGLE_ISSUER and DEFER_TASKRUN are asked for (Linux 6.1),
/// and done without where the kernel does not know them.
curing *curing_create(unsigned entries, bool one_thread, int *error);

/// Called once on the thread that will submit; with `one_thread` no other may submit afterwards.
/// 0 or a negative errno.
int curing_start(curing *ring);
void curing_destroy(curing *ring);

/// Completions are delivered inside the owner's own waits only (DEFER_TASKRUN).
bool curing_is_deferred(const curing *ring);

/// IORING_REGISTER_BUFFERS; 0 or a negative errno. Each buffer at most 1 GiB.
int curing_register_buffers(curing *ring, const curing_buffer *buffers, unsigned count);

// Each fills one submission and answers false if the submission queue is full.
// `buffer_index` names a registered buffer that holds the memory, or is negative.

bool curing_prepare_read(
    curing *ring, int fd, void *address, unsigned byte_count, uint64_t offset, int buffer_index,
    int rw_flags, uint64_t user_data);
bool curing_prepare_write(
    curing *ring, int fd, const void *address, unsigned byte_count, uint64_t offset,
    int buffer_index, int rw_flags, uint64_t user_data);
bool curing_prepare_fsync(curing *ring, int fd, bool data_only, uint64_t user_data);
/// Multishot POLLIN: one completion for each wake-up until one arrives without `more`.
bool curing_prepare_poll(curing *ring, int fd, uint64_t user_data);
/// Asks for the cancellation of the request with `target` as its user_data.
bool curing_prepare_cancel(curing *ring, uint64_t target, uint64_t user_data);

/// Submissions prepared and not yet shown to the kernel.
unsigned curing_unsubmitted(const curing *ring);
/// Room for that many more submissions.
unsigned curing_space(const curing *ring);

/// Submissions taken by the kernel, or a negative errno.
int curing_submit(curing *ring);

/// Submits and waits for `minimum` completions, in one system call. `nanoseconds` < 0 waits as
/// long as it takes. Zero or more, or a negative errno (-ETIME after the time-out).
int curing_submit_and_wait(curing *ring, unsigned minimum, int64_t nanoseconds);

/// Takes up to `capacity` completions that are there, entering the kernel only if it holds
/// some back.
unsigned curing_reap(curing *ring, curing_completion *completions, unsigned capacity);
