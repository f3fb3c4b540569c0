// FUSE passthrough (Linux 6.9; include/uapi/linux/fuse.h, fs/fuse/passthrough.c): the kernel reads
// and writes an open file's local file by itself.
//
// libfuse 3.14 knows nothing of it, and needs not: three of its answers are completed on their way
// to the kernel. INIT agrees to passthrough; OPEN and CREATE name the local file.
#include "internal.h"
#include <errno.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

// Newer than the headers of Debian 12.
enum {
    LOCAL_INIT_EXTENDED = 1 << 30,
    LOCAL_PASSTHROUGH = 1 << (37 - 32),  // of the second word of flags
    LOCAL_OPEN_PASSTHROUGH = 1 << 7,
    // A local file may lie on a file system that itself stands on no other.
    STACK_DEPTH = 1,
};

struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

_Static_assert(sizeof(struct fuse_init_out) == 64, "the answer to INIT has 64 bytes");

/// What the next answer of this thread is to be completed with.
static _Thread_local struct {
    bool agrees;
    int32_t backing;
} pending;

static void complete_init(clfuse_session *session, struct iovec *answer) {
    if (answer->iov_len != sizeof(struct fuse_init_out)) return;
    struct fuse_init_out *out = answer->iov_base;
    out->flags |= LOCAL_INIT_EXTENDED;
    // The kernel has the one or the other.
    out->flags &= ~(uint32_t)FUSE_WRITEBACK_CACHE;
    out->flags2 |= LOCAL_PASSTHROUGH;
    out->unused[0] = STACK_DEPTH;
    session->passes_through = true;
}

/// OPEN is answered with fuse_open_out, CREATE with fuse_entry_out and that.
static void complete_open(struct iovec *answer) {
    struct fuse_open_out *out;
    if (answer->iov_len < sizeof *out) return;
    out = (struct fuse_open_out *)((char *)answer->iov_base + answer->iov_len - sizeof *out);
    // Nothing of the file is in FUSE's own page cache.
    out->open_flags = LOCAL_OPEN_PASSTHROUGH;
    out->padding = (uint32_t)pending.backing;
}

static ssize_t write_answer(int fd, struct iovec *parts, int count, void *data) {
    const struct fuse_out_header *head = parts[0].iov_base;
    if (count == 2 && head->error == 0) {
        if (pending.agrees) complete_init(data, &parts[1]);
        pending.agrees = false;
        if (pending.backing) complete_open(&parts[1]);
    }
    return writev(fd, parts, count);
}

static ssize_t read_request(int fd, void *buffer, size_t capacity, void *data) {
    (void)data;
    return read(fd, buffer, capacity);
}

int clfuse_passthrough_attach(clfuse_session *session) {
    const struct fuse_custom_io io = {.writev = write_answer, .read = read_request};
    return fuse_session_custom_io(session->fuse, &io, fuse_session_fd(session->fuse));
}

void clfuse_passthrough_look(const void *request, size_t byte_count) {
    pending.agrees = false;
    const struct fuse_in_header *head = request;
    const size_t needed = sizeof *head + offsetof(struct fuse_init_in, flags2) + 4;
    if (byte_count < needed || head->opcode != FUSE_INIT) return;
    const struct fuse_init_in *in = (const struct fuse_init_in *)(head + 1);
    pending.agrees = in->flags & LOCAL_INIT_EXTENDED && in->flags2 & LOCAL_PASSTHROUGH;
}

void clfuse_passthrough_begin_open(int32_t backing) { pending.backing = backing; }
void clfuse_passthrough_end_open(void) { pending.backing = 0; }

bool clfuse_session_passes_through(clfuse_session *session) { return session->passes_through; }

int32_t clfuse_backing_open(clfuse_session *session, int fd) {
    struct backing_map map = {.fd = fd};
    int number = ioctl(fuse_session_fd(session->fuse), BACKING_OPEN, &map);
    return number < 0 ? -errno : number;
}

void clfuse_backing_close(clfuse_session *session, int32_t backing) {
    uint32_t number = (uint32_t)backing;
    ioctl(fuse_session_fd(session->fuse), BACKING_CLOSE, &number);
}
