// Learns which lock is taken while which is held, over all threads, and says when a new pair
// closes a circle. An edge is looked for without a lock; only a new one is added under one.
#include "clinux_lockorder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { most_classes = 256, most_held = 32 };

static struct {
    const char *file;
    int line;
} classes[most_classes];
static int class_count = 1;
static atomic_bool edges[most_classes][most_classes];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static _Thread_local int held[most_held];
static _Thread_local int held_count;

int clinux_lock_class(const char *file, int line) {
    pthread_mutex_lock(&mutex);
    int found = 0;
    for (int i = 1; i < class_count && found == 0; i++) {
        if (classes[i].line == line && strcmp(classes[i].file, file) == 0) found = i;
    }
    if (found == 0 && class_count < most_classes) {
        found = class_count++;
        classes[found].file = file;
        classes[found].line = line;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

// Whether `to` was ever taken, over any number of steps, while `from` was held.
static bool leads(int from, int to, bool *seen) {
    if (from == to) return true;
    seen[from] = true;
    for (int next = 1; next < class_count; next++) {
        if (!seen[next] && atomic_load_explicit(&edges[from][next], memory_order_relaxed) &&
            leads(next, to, seen)) {
            return true;
        }
    }
    return false;
}

int clinux_lock_acquiring(int lock_class) {
    int wrong = 0;
    for (int i = 0; i < held_count && i < most_held && lock_class != 0; i++) {
        int outer = held[i];
        if (outer == 0 || outer == lock_class ||
            atomic_load_explicit(&edges[outer][lock_class], memory_order_relaxed)) {
            continue;
        }
        pthread_mutex_lock(&mutex);
        bool seen[most_classes] = {false};
        if (leads(lock_class, outer, seen)) {
            wrong = outer;
        } else {
            atomic_store_explicit(&edges[outer][lock_class], true, memory_order_relaxed);
        }
        pthread_mutex_unlock(&mutex);
        if (wrong != 0) return wrong;
    }
    if (held_count < most_held) held[held_count] = lock_class;
    held_count++;
    return 0;
}

void clinux_lock_released(int lock_class) {
    // Nearly always the last one taken.
    int top = (held_count < most_held ? held_count : most_held) - 1;
    for (int i = top; i >= 0; i--) {
        if (held[i] != lock_class) continue;
        memmove(&held[i], &held[i + 1], (size_t)(top - i) * sizeof held[0]);
        break;
    }
    held_count--;
}

int clinux_locks_held(void) { return held_count; }

const char *clinux_lock_class_file(int lock_class) {
    return lock_class > 0 && lock_class < class_count ? classes[lock_class].file : "?";
}

int clinux_lock_class_line(int lock_class) {
    return lock_class > 0 && lock_class < class_count ? classes[lock_class].line : 0;
}
