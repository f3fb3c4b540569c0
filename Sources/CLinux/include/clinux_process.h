// Child processes that cannot outlive us, and the file-system chores of private servers: used
// by the measuring and testing rooms, never on an I/O path.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/// Starts `path` (a full path) with `argv` (NULL-terminated) in a session of its own, standard
/// input from /dev/null, output and error to the given descriptors, signals at their defaults
/// and no other descriptor open.
///
/// With `die_with_thread` the child gets SIGKILL when the *calling thread* ends
/// (PR_SET_PDEATHSIG), so call this from a thread that lives as long as the process.
/// The process id, or a negative errno, also when the program could not be executed.
pid_t clinux_spawn(
    const char *path, char *const *argv, int output_fd, int error_fd, bool die_with_thread);

/// waitpid without waiting: 1 with the wait status, 0 while it runs, or a negative errno.
int clinux_try_wait(pid_t pid, int *status);
/// The exit code, or 128 + the signal that ended it, as a shell has it.
int clinux_exit_code(int status);

/// Removes a directory and all below it without leaving its file system; 0 or a negative errno.
int clinux_remove_tree(const char *path);

/// A TCP and UDP port of 127.0.0.1 that is unused at the time of asking and is given to nobody
/// else in this process, or a negative errno.
int clinux_unused_port(void);
/// Whether something accepts TCP connections on that port of 127.0.0.1.
bool clinux_port_answers(int port);
/// Whether something accepts connections on that Unix socket.
bool clinux_socket_answers(const char *path);

/// Opens an existing file and takes flock(2) on it: LOCK_SH or, `exclusive`, LOCK_EX. Waits.
/// A descriptor, whose closing releases the lock, or a negative errno.
int clinux_lock_file(const char *path, bool exclusive);

/// Blocks SIGINT and SIGTERM in the calling thread and in all threads it starts later.
void clinux_block_stop_signals(void);
/// Waits until SIGINT or SIGTERM arrives and answers its number.
int clinux_wait_stop_signal(void);
