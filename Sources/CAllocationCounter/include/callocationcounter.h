// Counts heap allocations of the calling process, for tests that promise none.
#pragma once
#include <stdbool.h>
#include <stdint.h>

/// False under a sanitizer, which owns malloc itself.
bool callocationcounter_available(void);
/// Allocations (malloc, calloc, realloc, aligned forms) in the whole process since start.
uint64_t callocationcounter_total(void);
/// The same for the calling thread alone.
uint64_t callocationcounter_thread(void);
