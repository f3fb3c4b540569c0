#include "clinux_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Runs between fork and exec: async-signal-safe calls only.
static void become(
    const char *path, char *const *argv, int output_fd, int error_fd, pid_t parent, int report) {
    if (parent != 0) {
        prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL);
        if (getppid() != parent) _exit(127);
    }
    setsid();
    for (int number = 1; number < 32; number++) signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Out of the way of 0, 1 and 2, which are about to be replaced.
    report = fcntl(report, F_DUPFD_CLOEXEC, 3);
    int output = fcntl(output_fd, F_DUPFD_CLOEXEC, 3);
    int error = fcntl(error_fd, F_DUPFD_CLOEXEC, 3);
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (report >= 0 && output >= 0 && error >= 0 && input >= 0 && dup2(input, 0) >= 0 &&
        dup2(output, 1) >= 0 && dup2(error, 2) >= 0) {
        if (report > 3) syscall(SYS_close_range, 3U, (unsigned)report - 1, 0U);
        syscall(SYS_close_range, (unsigned)report + 1, ~0U, 0U);
        execv(path, argv);
    }
    int code = errno;
    if (write(report, &code, sizeof code) < 0) _exit(126);
    _exit(127);
}

pid_t clinux_spawn(
    const char *path, char *const *argv, int output_fd, int error_fd, bool die_with_thread) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) return -errno;
    pid_t parent = die_with_thread ? getpid() : 0;
    pid_t pid = fork();
    if (pid == 0) become(path, argv, output_fd, error_fd, parent, report[1]);
    int failure = pid < 0 ? errno : 0;
    close(report[1]);
    int code = 0;
    ssize_t count;
    do count = failure ? 0 : read(report[0], &code, sizeof code);
    while (count < 0 && errno == EINTR);
    close(report[0]);
    if (failure) return -failure;
    if (count == (ssize_t)sizeof code) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        return code != 0 ? -code : -EIO;
    }
    return pid;
}

int clinux_try_wait(pid_t pid, int *status) {
    pid_t result;
    do result = waitpid(pid, status, WNOHANG);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result > 0;
}

int clinux_exit_code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int clinux_remove_tree(const char *path) {
    return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 ? -errno : 0;
}

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

// Below the ports that Linux gives to outgoing connections and to servers that ask for any: none
// of those takes the port before its server binds it, and no connection to it meets itself.
enum { first_port = 10000, port_count = 22000 };
static atomic_uint port_turn;

static void begin_port_turns(void) {
    unsigned start = 0;
    if (getrandom(&start, sizeof start, GRND_NONBLOCK) < 0) start = (unsigned)getpid() * 97;
    atomic_store(&port_turn, start % port_count);
}

static bool is_unused(int port, int type) {
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    struct sockaddr_in address = loopback(port);
    bool unused = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return unused;
}

int clinux_unused_port(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin_port_turns);
    for (int tries = 0; tries < port_count; tries++) {
        // Each is given once in a round, so that two servers of a process never have the same.
        int port = first_port + (int)(atomic_fetch_add(&port_turn, 1) % port_count);
        if (is_unused(port, SOCK_STREAM) && is_unused(port, SOCK_DGRAM)) return port;
    }
    return -EADDRINUSE;
}

bool clinux_port_answers(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    struct sockaddr_in address = loopback(port);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

bool clinux_socket_answers(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return false;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

int clinux_lock_file(const char *path, bool exclusive) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int result;
    do result = flock(fd, exclusive ? LOCK_EX : LOCK_SH);
    while (result < 0 && errno == EINTR);
    if (result == 0) return fd;
    int code = errno;
    close(fd);
    return -code;
}

static sigset_t stop_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

void clinux_block_stop_signals(void) {
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int clinux_wait_stop_signal(void) {
    sigset_t set = stop_signals();
    int number = 0;
    while (sigwait(&set, &number) != 0) {}
    return number;
}
