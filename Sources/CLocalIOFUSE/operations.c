// Turns each of libfuse's callbacks into the one flat operation.
#include "internal.h"
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/sysmacros.h>

_Thread_local struct clfuse_current clfuse_current;

static clfuse_operation start(clfuse_opcode opcode, fuse_req_t request, fuse_ino_t node) {
    const struct fuse_ctx *caller = fuse_req_ctx(request);
    return (clfuse_operation){
        .opcode = opcode, .request = (clfuse_request *)request, .node = node,
        .uid = caller->uid, .gid = caller->gid, .pid = caller->pid};
}

static void finish(clfuse_operation *operation) {
    clfuse_session *session = clfuse_current.session;
    if (session->handler(session->context, operation)) clfuse_current.is_kept = true;
}

static void set_file(clfuse_operation *operation, const struct fuse_file_info *info) {
    if (!info) return;
    operation->has_file = true;
    operation->file = info->fh;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    clfuse_operation operation = start(CLFUSE_LOOKUP, request, parent);
    operation.name = name;
    finish(&operation);
}

static void on_forget(fuse_req_t request, fuse_ino_t node, uint64_t count) {
    clfuse_operation operation = start(CLFUSE_FORGET, request, node);
    operation.byte_count = count;
    finish(&operation);
    fuse_reply_none(request);
}

static void on_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets) {
    for (size_t index = 0; index < count; index++) {
        clfuse_operation operation = start(CLFUSE_FORGET, request, forgets[index].ino);
        operation.byte_count = forgets[index].nlookup;
        finish(&operation);
    }
    fuse_reply_none(request);
}

static void on_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_GETATTR, request, node);
    set_file(&operation, info);
    finish(&operation);
}

static void on_setattr(
    fuse_req_t request, fuse_ino_t node, struct stat *status, int set,
    struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_SETATTR, request, node);
    set_file(&operation, info);
    operation.set = (uint32_t)set;
    operation.attributes.mode = status->st_mode;
    operation.attributes.uid = status->st_uid;
    operation.attributes.gid = status->st_gid;
    operation.attributes.size = (uint64_t)status->st_size;
    operation.attributes.access =
        (clfuse_time){status->st_atim.tv_sec, (uint32_t)status->st_atim.tv_nsec};
    operation.attributes.modify =
        (clfuse_time){status->st_mtim.tv_sec, (uint32_t)status->st_mtim.tv_nsec};
    finish(&operation);
}

static void on_access(fuse_req_t request, fuse_ino_t node, int mask) {
    clfuse_operation operation = start(CLFUSE_ACCESS, request, node);
    operation.flags = (uint32_t)mask;
    finish(&operation);
}

static void on_readlink(fuse_req_t request, fuse_ino_t node) {
    clfuse_operation operation = start(CLFUSE_READLINK, request, node);
    finish(&operation);
}

static void on_mknod(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
    clfuse_operation operation = start(CLFUSE_MKNOD, request, parent);
    operation.name = name;
    operation.mode = mode;
    operation.device_major = major(device);
    operation.device_minor = minor(device);
    finish(&operation);
}

static void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
    clfuse_operation operation = start(CLFUSE_MKDIR, request, parent);
    operation.name = name;
    operation.mode = mode;
    finish(&operation);
}

static void on_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
    clfuse_operation operation = start(CLFUSE_UNLINK, request, parent);
    operation.name = name;
    finish(&operation);
}

static void on_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name) {
    clfuse_operation operation = start(CLFUSE_RMDIR, request, parent);
    operation.name = name;
    finish(&operation);
}

static void on_symlink(
    fuse_req_t request, const char *target, fuse_ino_t parent, const char *name) {
    clfuse_operation operation = start(CLFUSE_SYMLINK, request, parent);
    operation.name = name;
    operation.other_name = target;
    finish(&operation);
}

static void on_rename(
    fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
    const char *new_name, unsigned int flags) {
    clfuse_operation operation = start(CLFUSE_RENAME, request, parent);
    operation.name = name;
    operation.other_node = new_parent;
    operation.other_name = new_name;
    operation.flags = flags;
    finish(&operation);
}

static void on_link(
    fuse_req_t request, fuse_ino_t node, fuse_ino_t new_parent, const char *new_name) {
    clfuse_operation operation = start(CLFUSE_LINK, request, node);
    operation.other_node = new_parent;
    operation.name = new_name;
    finish(&operation);
}

static void on_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_OPEN, request, node);
    operation.flags = (uint32_t)info->flags;
    finish(&operation);
}

static void on_create(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
    struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_CREATE, request, parent);
    operation.name = name;
    operation.mode = mode;
    operation.flags = (uint32_t)info->flags;
    finish(&operation);
}

static void on_read(
    fuse_req_t request, fuse_ino_t node, size_t byte_count, off_t offset,
    struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_READ, request, node);
    set_file(&operation, info);
    operation.offset = offset;
    operation.byte_count = byte_count;
    operation.buffer = clfuse_current.buffer;
    operation.data = clfuse_payload(operation.buffer);
    finish(&operation);
}

/// What libfuse does not tell of a WRITE, from the request as it was received. The payload is in
/// the receive buffer; the request's own structure ends where it begins.
static bool kills_set_ids(const struct fuse_bufvec *source) {
    if (source->buf[0].mem != clfuse_payload(clfuse_current.buffer)) return false;
    struct fuse_write_in head;
    memcpy(&head, (const char *)source->buf[0].mem - sizeof head, sizeof head);
    return head.write_flags & FUSE_WRITE_KILL_SUIDGID;
}

static void on_write(
    fuse_req_t request, fuse_ino_t node, struct fuse_bufvec *source, off_t offset,
    struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_WRITE, request, node);
    set_file(&operation, info);
    operation.offset = offset;
    operation.byte_count = source->buf[0].size;
    operation.buffer = clfuse_current.buffer;
    operation.data = source->buf[0].mem;
    operation.kills_set_ids = kills_set_ids(source);
    finish(&operation);
}

static void on_flush(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_FLUSH, request, node);
    set_file(&operation, info);
    finish(&operation);
}

static void on_release(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_RELEASE, request, node);
    set_file(&operation, info);
    finish(&operation);
}

static void on_fsync(
    fuse_req_t request, fuse_ino_t node, int data_only, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_FSYNC, request, node);
    set_file(&operation, info);
    operation.flags = data_only != 0;
    finish(&operation);
}

static void on_opendir(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    (void)info;
    clfuse_operation operation = start(CLFUSE_OPENDIR, request, node);
    finish(&operation);
}

static void read_directory(
    clfuse_opcode opcode, fuse_req_t request, fuse_ino_t node, size_t byte_count, off_t cookie,
    struct fuse_file_info *info) {
    clfuse_operation operation = start(opcode, request, node);
    set_file(&operation, info);
    operation.byte_count = byte_count;
    operation.offset = cookie;
    finish(&operation);
}

static void on_readdir(
    fuse_req_t request, fuse_ino_t node, size_t byte_count, off_t cookie,
    struct fuse_file_info *info) {
    read_directory(CLFUSE_READDIR, request, node, byte_count, cookie, info);
}

static void on_readdirplus(
    fuse_req_t request, fuse_ino_t node, size_t byte_count, off_t cookie,
    struct fuse_file_info *info) {
    read_directory(CLFUSE_READDIRPLUS, request, node, byte_count, cookie, info);
}

static void on_releasedir(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_RELEASEDIR, request, node);
    set_file(&operation, info);
    finish(&operation);
}

static void on_fsyncdir(
    fuse_req_t request, fuse_ino_t node, int data_only, struct fuse_file_info *info) {
    (void)data_only;
    clfuse_operation operation = start(CLFUSE_FSYNCDIR, request, node);
    set_file(&operation, info);
    finish(&operation);
}

static void on_statfs(fuse_req_t request, fuse_ino_t node) {
    clfuse_operation operation = start(CLFUSE_STATFS, request, node);
    finish(&operation);
}

static void on_fallocate(
    fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t byte_count,
    struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_FALLOCATE, request, node);
    set_file(&operation, info);
    operation.flags = (uint32_t)mode;
    operation.offset = offset;
    operation.byte_count = (uint64_t)byte_count;
    finish(&operation);
}

static void on_lseek(
    fuse_req_t request, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *info) {
    clfuse_operation operation = start(CLFUSE_LSEEK, request, node);
    set_file(&operation, info);
    operation.flags = (uint32_t)whence;
    operation.offset = offset;
    finish(&operation);
}

struct fuse_lowlevel_ops clfuse_operations(void) {
    // What is missing here libfuse answers with ENOSYS, which the kernel remembers: extended
    // attributes, ACLs (EOPNOTSUPP for callers), copy_file_range (the kernel copies), ioctl
    // (ENOTTY), and locks, which the kernel then keeps for this mount alone.
    return (struct fuse_lowlevel_ops){
        .lookup = on_lookup, .forget = on_forget, .forget_multi = on_forget_multi,
        .getattr = on_getattr, .setattr = on_setattr, .access = on_access,
        .readlink = on_readlink, .mknod = on_mknod, .mkdir = on_mkdir, .unlink = on_unlink,
        .rmdir = on_rmdir, .symlink = on_symlink, .rename = on_rename, .link = on_link,
        .open = on_open, .create = on_create, .read = on_read, .write_buf = on_write,
        .flush = on_flush, .release = on_release, .fsync = on_fsync, .opendir = on_opendir,
        .readdir = on_readdir, .readdirplus = on_readdirplus, .releasedir = on_releasedir,
        .fsyncdir = on_fsyncdir, .statfs = on_statfs, .fallocate = on_fallocate,
        .lseek = on_lseek};
}
