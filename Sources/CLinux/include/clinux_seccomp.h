// Takes io_uring away from a program, as containers' default seccomp profiles do.
#pragma once

/// From now on io_uring_setup(2) answers EPERM in the calling thread and in every thread and
/// process it starts. Cannot be undone. 0 or a negative errno.
int clinux_refuse_io_uring(void);
