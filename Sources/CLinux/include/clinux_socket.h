// Unix stream sockets that carry descriptors and know who is at the other end.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// A connected, non-blocking, close-on-exec Unix stream socket, or a negative errno
/// (-ENAMETOOLONG for a path that does not fit a socket's address).
int clinux_unix_connect(const char *path);

/// The same with other ids: the calling thread alone takes them for good (raw system calls), so
/// use one that ends afterwards. Needs root; for tests of who may connect and open.
int clinux_unix_connect_as(
    const char *path, uint32_t uid, uint32_t gid, const uint32_t *groups, int group_count);

/// A listening, non-blocking, close-on-exec Unix stream socket bound to a path that must not
/// exist yet. The file is made without permissions beyond `mode`. A negative errno on failure.
int clinux_unix_listen(const char *path, mode_t mode, int backlog);

/// The next connection of a listening socket, non-blocking and close-on-exec, or a negative
/// errno.
int clinux_unix_accept(int listening_socket);

/// Two connected, non-blocking Unix stream sockets; 0 or a negative errno.
int clinux_unix_pair(int descriptors[2]);

enum { CLINUX_DESCRIPTOR_LIMIT = 4 };

/// sendmsg(2) without waiting and without SIGPIPE. `count` descriptors, at most
/// CLINUX_DESCRIPTOR_LIMIT, travel with the first byte. Bytes sent, or a negative errno.
int64_t clinux_send_with_descriptors(
    int socket, const void *bytes, size_t byte_count, const int *descriptors, int count);

/// recvmsg(2) without waiting. Descriptors that came along are close-on-exec and put into
/// `descriptors` (room for CLINUX_DESCRIPTOR_LIMIT) with their number in `*count`; those for
/// which there is no room are closed by the kernel. With `descriptors` NULL all are. Bytes
/// received, 0 at the end, or a negative errno.
int64_t clinux_receive_with_descriptors(
    int socket, void *bytes, size_t byte_count, int *descriptors, int *count);

/// SO_PEERCRED: who connected, as of then. 0 or a negative errno.
int clinux_peer_credentials(int socket, pid_t *pid, uint32_t *uid, uint32_t *gid);

/// SO_PEERGROUPS: the peer's supplementary groups as of when it connected. Their number, which
/// may be more than `capacity` (then none is written), or a negative errno.
int clinux_peer_groups(int socket, uint32_t *groups, int capacity);
