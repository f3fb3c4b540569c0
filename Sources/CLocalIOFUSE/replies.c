// Replies, and what a request says about its caller.
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static fuse_req_t raw(clfuse_request *request) { return (fuse_req_t)request; }

int clfuse_request_groups(clfuse_request *request, uint32_t *groups, int capacity) {
    int count = fuse_req_getgroups(raw(request), capacity, groups);
    return count > capacity ? capacity : count;
}

/// Whether SIGKILL is pending for a thread; a fatal signal of any other kind becomes one.
static bool is_killed(pid_t thread) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return length < 0 && errno == ESRCH;
    text[length] = 0;
    const char *fields[] = {"\nSigPnd:", "\nShdPnd:"};
    for (int index = 0; index < 2; index++) {
        const char *field = strstr(text, fields[index]);
        if (!field) continue;
        unsigned long long pending = strtoull(field + strlen(fields[index]), NULL, 16);
        if (pending & (1ULL << (SIGKILL - 1))) return true;
    }
    return false;
}

static void on_interrupt(fuse_req_t request, void *data) {
    clfuse_session *session = fuse_req_userdata(request);
    // As with a kernel's NFS mount only death interrupts: a handled signal must not make stat(2)
    // or rename(2) fail in programs that never expect it.
    if (is_killed(fuse_req_ctx(request)->pid)) {
        session->killed(session->context, (uint64_t)(uintptr_t)data);
    }
}

void clfuse_request_watch(clfuse_request *request, uint64_t number) {
    fuse_req_interrupt_func(raw(request), on_interrupt, (void *)(uintptr_t)number);
}

static struct timespec time_of(clfuse_time time) {
    return (struct timespec){.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
}

static struct stat status_of(const clfuse_attributes *from) {
    struct stat status;
    memset(&status, 0, sizeof status);
    status.st_ino = from->inode;
    status.st_size = (off_t)from->size;
    status.st_blocks = (blkcnt_t)from->blocks;
    status.st_mode = from->mode;
    status.st_nlink = from->link_count;
    status.st_uid = from->uid;
    status.st_gid = from->gid;
    status.st_rdev = makedev(from->device_major, from->device_minor);
    status.st_blksize = from->block_size;
    status.st_atim = time_of(from->access);
    status.st_mtim = time_of(from->modify);
    status.st_ctim = time_of(from->change);
    return status;
}

static struct fuse_entry_param entry_of(
    uint64_t node, const clfuse_attributes *attributes, double entry_seconds,
    double attribute_seconds) {
    struct fuse_entry_param entry;
    memset(&entry, 0, sizeof entry);
    entry.ino = node;
    entry.attr = status_of(attributes);
    entry.entry_timeout = entry_seconds;
    entry.attr_timeout = attribute_seconds;
    return entry;
}

int clfuse_reply_error(clfuse_request *request, int error) {
    return fuse_reply_err(raw(request), error);
}

int clfuse_reply_entry(
    clfuse_request *request, uint64_t node, const clfuse_attributes *attributes,
    double entry_seconds, double attribute_seconds) {
    struct fuse_entry_param entry = entry_of(node, attributes, entry_seconds, attribute_seconds);
    return fuse_reply_entry(raw(request), &entry);
}

static struct fuse_file_info info_of(uint64_t file, clfuse_open open) {
    struct fuse_file_info info;
    memset(&info, 0, sizeof info);
    info.fh = file;
    info.direct_io = (open.flags & CLFUSE_OPEN_DIRECT) != 0;
    info.keep_cache = (open.flags & CLFUSE_OPEN_KEEP_CACHE) != 0;
    return info;
}

int clfuse_reply_create(
    clfuse_request *request, uint64_t node, const clfuse_attributes *attributes,
    double entry_seconds, double attribute_seconds, uint64_t file, clfuse_open open) {
    struct fuse_entry_param entry = entry_of(node, attributes, entry_seconds, attribute_seconds);
    struct fuse_file_info info = info_of(file, open);
    clfuse_passthrough_begin_open(open.backing);
    int result = fuse_reply_create(raw(request), &entry, &info);
    clfuse_passthrough_end_open();
    return result;
}

int clfuse_reply_open(clfuse_request *request, uint64_t file, clfuse_open open) {
    struct fuse_file_info info = info_of(file, open);
    clfuse_passthrough_begin_open(open.backing);
    int result = fuse_reply_open(raw(request), &info);
    clfuse_passthrough_end_open();
    return result;
}

int clfuse_reply_attributes(
    clfuse_request *request, const clfuse_attributes *attributes, double attribute_seconds) {
    struct stat status = status_of(attributes);
    return fuse_reply_attr(raw(request), &status, attribute_seconds);
}

int clfuse_reply_link(clfuse_request *request, const char *target) {
    return fuse_reply_readlink(raw(request), target);
}

int clfuse_reply_written(clfuse_request *request, size_t byte_count) {
    return fuse_reply_write(raw(request), byte_count);
}

int clfuse_reply_data(clfuse_request *request, const void *data, size_t byte_count) {
    return fuse_reply_buf(raw(request), data, byte_count);
}

int clfuse_reply_offset(clfuse_request *request, int64_t offset) {
    return fuse_reply_lseek(raw(request), offset);
}

int clfuse_reply_statistics(clfuse_request *request, const clfuse_statistics *from) {
    struct statvfs status;
    memset(&status, 0, sizeof status);
    status.f_bsize = from->block_size;
    status.f_frsize = from->fragment_size;
    status.f_blocks = from->blocks;
    status.f_bfree = from->free_blocks;
    status.f_bavail = from->available_blocks;
    status.f_files = from->files;
    status.f_ffree = from->free_files;
    status.f_favail = from->free_files;
    status.f_namemax = from->name_limit;
    return fuse_reply_statfs(raw(request), &status);
}

size_t clfuse_add_entry(
    clfuse_request *request, char *target, size_t capacity, const char *name,
    const clfuse_attributes *attributes, int64_t next_cookie) {
    struct stat status = status_of(attributes);
    return fuse_add_direntry(raw(request), target, capacity, name, &status, next_cookie);
}

size_t clfuse_add_entry_plus(
    clfuse_request *request, char *target, size_t capacity, const char *name, uint64_t node,
    const clfuse_attributes *attributes, double entry_seconds, double attribute_seconds,
    int64_t next_cookie) {
    struct fuse_entry_param entry = entry_of(node, attributes, entry_seconds, attribute_seconds);
    return fuse_add_direntry_plus(raw(request), target, capacity, name, &entry, next_cookie);
}
