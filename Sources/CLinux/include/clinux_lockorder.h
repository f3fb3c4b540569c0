// The order in which locks are taken, watched in debug builds (the idea of the kernel's lockdep).
#pragma once

#include <stdbool.h>

/// The class of a lock: all locks made at one place of the source. 0 if there are too many.
int clinux_lock_class(const char *file, int line);
/// The calling thread is about to take a lock of this class. 0, or a class that it holds and
/// that elsewhere was taken while a lock of this class was held: the two can wait for each other.
int clinux_lock_acquiring(int lock_class);
void clinux_lock_released(int lock_class);
/// Locks that the calling thread holds.
int clinux_locks_held(void);
/// Where the class's locks are made; "?" if there is no such class.
const char *clinux_lock_class_file(int lock_class);
int clinux_lock_class_line(int lock_class);
