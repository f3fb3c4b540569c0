#include "clinux_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

static int unix_socket(const char *path, struct sockaddr_un *address, socklen_t *length) {
    size_t path_length = strlen(path);
    memset(address, 0, sizeof *address);
    if (path_length == 0) return -EINVAL;
    if (path_length >= sizeof address->sun_path) return -ENAMETOOLONG;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, path_length);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

static int fail(int fd) {
    int error = -errno;
    close(fd);
    return error;
}

int clinux_unix_connect(const char *path) {
    struct sockaddr_un address;
    socklen_t length = 0;
    int fd = unix_socket(path, &address, &length);
    if (fd < 0) return fd;
    if (connect(fd, (struct sockaddr *)&address, length) < 0) return fail(fd);
    return fd;
}

int clinux_unix_connect_as(
    const char *path, uint32_t uid, uint32_t gid, const uint32_t *groups, int group_count) {
    if (syscall(SYS_setgroups, (size_t)group_count, groups) < 0) return -errno;
    if (syscall(SYS_setresgid, gid, gid, gid) < 0) return -errno;
    if (syscall(SYS_setresuid, uid, uid, uid) < 0) return -errno;
    return clinux_unix_connect(path);
}

int clinux_unix_listen(const char *path, mode_t mode, int backlog) {
    struct sockaddr_un address;
    socklen_t length = 0;
    int fd = unix_socket(path, &address, &length);
    if (fd < 0) return fd;
    // The mode of a socket's file is the descriptor's at the time of bind, less the umask: set
    // so, nobody can connect in the instant before a chmod.
    if (fchmod(fd, mode) < 0) return fail(fd);
    if (bind(fd, (struct sockaddr *)&address, length) < 0) return fail(fd);
    if (chmod(path, mode) < 0 || listen(fd, backlog) < 0) {
        int error = fail(fd);
        unlink(path);
        return error;
    }
    return fd;
}

int clinux_unix_accept(int listening_socket) {
    int fd = accept4(listening_socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int clinux_unix_pair(int descriptors[2]) {
    int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    return socketpair(AF_UNIX, type, 0, descriptors) < 0 ? -errno : 0;
}

typedef union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * CLINUX_DESCRIPTOR_LIMIT)];
} control_room;

int64_t clinux_send_with_descriptors(
    int socket, const void *bytes, size_t byte_count, const int *descriptors, int count) {
    control_room control;
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = byte_count};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count < 0 || count > CLINUX_DESCRIPTOR_LIMIT) return -EINVAL;
    if (count > 0) {
        size_t length = sizeof(int) * (size_t)count;
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(length);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(length);
        memcpy(CMSG_DATA(header), descriptors, length);
    }
    ssize_t sent;
    do sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

int64_t clinux_receive_with_descriptors(
    int socket, void *bytes, size_t byte_count, int *descriptors, int *count) {
    control_room control;
    struct iovec piece = {.iov_base = bytes, .iov_len = byte_count};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (descriptors != NULL) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
    }
    *count = 0;
    ssize_t received;
    do received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (received < 0 && errno == EINTR);
    if (received < 0) return -errno;
    if (descriptors == NULL) return received;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    for (; header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        int arrived = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int index = 0; index < arrived; index++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + sizeof fd * (size_t)index, sizeof fd);
            if (*count < CLINUX_DESCRIPTOR_LIMIT) descriptors[(*count)++] = fd;
            else close(fd);
        }
    }
    return received;
}

int clinux_peer_credentials(int socket, pid_t *pid, uint32_t *uid, uint32_t *gid) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -errno;
    *pid = peer.pid;
    *uid = peer.uid;
    *gid = peer.gid;
    return 0;
}

int clinux_peer_groups(int socket, uint32_t *groups, int capacity) {
    _Static_assert(sizeof(gid_t) == sizeof(uint32_t), "a gid has 32 bits");
    socklen_t length = (socklen_t)(sizeof(gid_t) * (size_t)(capacity < 0 ? 0 : capacity));
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0 && errno != ERANGE)
        return -errno;
    return (int)(length / sizeof(gid_t));
}
