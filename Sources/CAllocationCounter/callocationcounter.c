#include "callocationcounter.h"

#include <stdatomic.h>
#include <stddef.h>
#include <errno.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTER_OFF 1
#endif
#endif

static _Atomic uint64_t total;
static __thread uint64_t own;

bool callocationcounter_available(void) {
#ifdef COUNTER_OFF
    return false;
#else
    return true;
#endif
}
uint64_t callocationcounter_total(void) { return atomic_load(&total); }
uint64_t callocationcounter_thread(void) { return own; }

#ifndef COUNTER_OFF
// The executable's definitions come before the C library's in symbol resolution.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static void count(void) {
    atomic_fetch_add_explicit(&total, 1, memory_order_relaxed);
    own++;
}
void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}
void *calloc(size_t items, size_t size) {
    count();
    return __libc_calloc(items, size);
}
void *realloc(void *old, size_t size) {
    count();
    return __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size) {
    count();
    void *memory = __libc_memalign(alignment, size);
    if (memory == NULL) return ENOMEM;
    *out = memory;
    return 0;
}
#endif
