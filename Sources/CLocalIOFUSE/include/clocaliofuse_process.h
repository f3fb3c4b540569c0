// What a mount program asks of the system around its session: daemon, memory, unmounting.
#pragma once
#include <stdbool.h>
#include <stdint.h>

/// Goes on in a child process in a session of its own. The parent waits for
/// `clfuse_daemon_ready` and exits with the status given there, or 1 if the child dies first.
/// 0 in the child, else a negative errno. Before any thread is started.
int clfuse_daemonize(void);
/// Lets the waiting parent exit with `status`; when it is 0 the standard streams go to
/// /dev/null, unless `keep_error`. Without a parent it does nothing.
void clfuse_daemon_ready(int status, bool keep_error);

/// umount2(2) where that is allowed, else fusermount3 -u. `lazy` detaches a busy one.
/// 0 or a negative errno (-EBUSY).
int clfuse_unmount(const char *mount_point, bool lazy);
/// Writes out everything dirty of the file system at `path`; 0 or a negative errno.
int clfuse_sync(const char *path);
/// Whether `path` is a mount whose server is gone (ENOTCONN).
bool clfuse_is_stale(const char *path);
/// The device number of the mount that holds `path` (major, minor), without asking its file
/// system; 0 or a negative errno.
int clfuse_device(const char *path, uint32_t *major, uint32_t *minor);
/// Sets the read-ahead of the mount's device in KiB; 0 or a negative errno.
int clfuse_set_read_ahead(const char *path, uint32_t kibibytes);

/// mlockall(2) of what is and what will be, each page when it is first touched; 0 or -errno.
int clfuse_lock_memory(void);
/// Writes oom_score_adj; 0 or a negative errno.
int clfuse_set_oom_score(int score);
/// Raises RLIMIT_NOFILE to what is allowed; the limit now.
uint64_t clfuse_raise_file_limit(void);

/// One line to syslog(3).
void clfuse_syslog(int priority, const char *line);
