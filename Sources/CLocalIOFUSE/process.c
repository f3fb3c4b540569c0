// The mount program's dealings with the system: daemon, memory, unmounting.
#include "clocaliofuse_process.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

static int ready_pipe = -1;

int clfuse_daemonize(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -errno;
    pid_t child = fork();
    if (child < 0) return -errno;
    if (child > 0) {
        close(ends[1]);
        unsigned char status = 1;
        while (read(ends[0], &status, 1) < 0 && errno == EINTR) {}
        _exit(status);
    }
    close(ends[0]);
    ready_pipe = ends[1];
    setsid();
    if (chdir("/") != 0) return -errno;
    return 0;
}

void clfuse_daemon_ready(int status, bool keep_error) {
    if (ready_pipe < 0) return;
    if (status == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0) {
            dup2(null, 0);
            dup2(null, 1);
            if (!keep_error) dup2(null, 2);
            if (null > 2) close(null);
        }
    }
    unsigned char byte = (unsigned char)status;
    while (write(ready_pipe, &byte, 1) < 0 && errno == EINTR) {}
    close(ready_pipe);
    ready_pipe = -1;
}

static int run_fusermount(const char *mount_point, bool lazy) {
    pid_t child = fork();
    if (child < 0) return -errno;
    if (child == 0) {
        execlp("fusermount3", "fusermount3", lazy ? "-uzq" : "-uq", "--", mount_point,
            (char *)NULL);
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return -errno;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EBUSY;
}

int clfuse_unmount(const char *mount_point, bool lazy) {
    if (umount2(mount_point, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0) return 0;
    return errno == EPERM ? run_fusermount(mount_point, lazy) : -errno;
}

int clfuse_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int result = syncfs(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

bool clfuse_is_stale(const char *path) {
    // Opened, not looked at: the attributes of a dead mount's root may still be cached.
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == ENOTCONN;
    close(fd);
    return false;
}

/// The number after `name` in a file of lines like "mnt_id:\t42"; -1 if there is none.
static int number_in(const char *path, const char *name) {
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    int number = -1;
    char line[256];
    while (number < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), "%d", &number);
    }
    fclose(file);
    return number;
}

int clfuse_device(const char *path, uint32_t *major_out, uint32_t *minor_out) {
    // Not by stat(2): of a mount of ours that would be a request to ourselves.
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return -errno;
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    int wanted = number_in(name, "mnt_id:");
    close(fd);
    FILE *mounts = wanted < 0 ? NULL : fopen("/proc/self/mountinfo", "re");
    if (!mounts) return -ENOENT;
    int result = -ENOENT, mount = 0;
    char *line = NULL;
    size_t room = 0;
    while (result != 0 && getline(&line, &room, mounts) >= 0) {
        int found = sscanf(line, "%d %*d %" SCNu32 ":%" SCNu32, &mount, major_out, minor_out);
        if (found == 3 && mount == wanted) result = 0;
    }
    free(line);
    fclose(mounts);
    return result;
}

static int write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int clfuse_set_read_ahead(const char *path, uint32_t kibibytes) {
    uint32_t major_number = 0, minor_number = 0;
    int result = clfuse_device(path, &major_number, &minor_number);
    if (result < 0) return result;
    char file[96], text[16];
    snprintf(file, sizeof file, "/sys/class/bdi/%u:%u/read_ahead_kb", major_number,
        minor_number);
    snprintf(text, sizeof text, "%u", kibibytes);
    return write_text(file, text);
}

/// Whether CAP_IPC_LOCK is in effect.
static bool may_lock_any(void) {
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return false;
    text[length] = 0;
    const char *field = strstr(text, "\nCapEff:");
    return field && (strtoull(field + 8, NULL, 16) & (1ULL << 14)) != 0;
}

int clfuse_lock_memory(void) {
    struct rlimit limit;
    // Under a limit a later mapping would fail, of whatever kind: then nothing is locked.
    if (!may_lock_any()
        && (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY)) {
        return -EPERM;
    }
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0 ? 0 : -errno;
}

int clfuse_set_oom_score(int score) {
    char text[16];
    snprintf(text, sizeof text, "%d", score);
    return write_text("/proc/self/oom_score_adj", text);
}

uint64_t clfuse_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    rlim_t wanted = 1 << 20;
    struct rlimit higher = {.rlim_cur = wanted,
        .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted};
    // Beyond the hard limit only where that is allowed.
    if (limit.rlim_max < wanted && setrlimit(RLIMIT_NOFILE, &higher) == 0) return wanted;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

void clfuse_syslog(int priority, const char *line) {
    static bool is_open;
    if (!is_open) openlog("localio-mount", LOG_PID, LOG_DAEMON);
    is_open = true;
    syslog(priority, "%s", line);
}
