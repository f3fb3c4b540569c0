#include "clinux_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int answer(long result) { return result < 0 ? -errno : (int)result; }

int clinux_open_in_mount(int directory_fd, const char *name, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve =
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    long fd;
    // EAGAIN: a rename elsewhere raced with the walk; the manual asks for a bounded retry.
    for (int attempt = 0; attempt < 64; attempt++) {
        fd = syscall(SYS_openat2, directory_fd, name, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return answer(fd);
}

// The one road to a descriptor's own inode for calls without AT_EMPTY_PATH.
typedef struct {
    char text[32];
} descriptor_path;

static descriptor_path path_of(int fd) {
    descriptor_path path;
    snprintf(path.text, sizeof path.text, "/proc/self/fd/%d", fd);
    return path;
}

int clinux_reopen(int fd, int flags) {
    descriptor_path path = path_of(fd);
    return answer(open(path.text, flags | O_CLOEXEC | O_NOCTTY));
}

int clinux_access(int fd, int mode) {
    return answer(syscall(SYS_faccessat2, fd, "", mode, AT_EACCESS | AT_EMPTY_PATH));
}

int64_t clinux_read_directory(int fd, void *buffer, size_t byte_count) {
    long result = syscall(SYS_getdents64, fd, buffer, byte_count);
    return result < 0 ? -errno : result;
}

bool clinux_directory_record(
    const void *buffer, size_t byte_count, clinux_directory_entry *entry) {
    const struct dirent64 *record = buffer;
    if (byte_count < offsetof(struct dirent64, d_name) || record->d_reclen > byte_count)
        return false;
    *entry = (clinux_directory_entry){
        .inode = record->d_ino,
        .next_offset = (uint64_t)record->d_off,
        .record_length = record->d_reclen,
        .name_length = strlen(record->d_name),
        .may_be_directory = record->d_type == DT_DIR || record->d_type == DT_UNKNOWN,
        .name = record->d_name,
    };
    return true;
}

int clinux_change_owner(int fd, uint32_t uid, uint32_t gid) {
    return answer(fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
}

int clinux_change_mode(int fd, mode_t mode) {
    descriptor_path path = path_of(fd);
    return answer(chmod(path.text, mode));
}

static struct timespec timespec_of(clinux_time time) {
    struct timespec result = {.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
    if (time.how == CLINUX_TIME_KEEP) result.tv_nsec = UTIME_OMIT;
    if (time.how == CLINUX_TIME_NOW) result.tv_nsec = UTIME_NOW;
    return result;
}

int clinux_change_times(int fd, clinux_time access, clinux_time modify) {
    struct timespec times[2] = {timespec_of(access), timespec_of(modify)};
    // glibc's utimensat refuses AT_EMPTY_PATH with an empty path on some versions.
    return answer(syscall(SYS_utimensat, fd, "", times, AT_EMPTY_PATH));
}

int clinux_link(int fd, int directory_fd, const char *name) {
    // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH, which a caller's ids do not have.
    descriptor_path path = path_of(fd);
    return answer(linkat(AT_FDCWD, path.text, directory_fd, name, AT_SYMLINK_FOLLOW));
}

int clinux_make_device(
    int directory_fd, const char *name, mode_t mode, uint32_t major, uint32_t minor) {
    return answer(mknodat(directory_fd, name, mode, makedev(major, minor)));
}

int clinux_accept(int listening_socket, char *host, size_t capacity) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int fd = accept4(
        listening_socket, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return -errno;
    if (getnameinfo(
            (struct sockaddr *)&address, length, host, (socklen_t)capacity, NULL, 0,
            NI_NUMERICHOST) != 0)
        snprintf(host, capacity, "unknown");
    return fd;
}

void clinux_clear_thread_umask(void) {
    // The umask is shared by a process's threads unless one leaves the sharing.
    if (unshare(CLONE_FS) == 0) umask(0);
}

int clinux_rename(const char *from, const char *to, unsigned flags) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) == 0 ? 0 : -errno;
}
