// The session, its pool of receive buffers, and the loop that fills them.
#include "clinux.h"
#include "internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A request's payload follows fuse_in_header (40 bytes) and, for WRITE, fuse_write_in (40
// bytes): read to 80 bytes before a page, the payload starts the page.
enum { PAGE = 4096, HEADER = 80, MAX_WRITE = 1 << 20 };
// libfuse reads up to its own limit of 1 MiB and a page before it has seen INIT.
enum { BUFFER_BYTES = PAGE + MAX_WRITE + 2 * PAGE };

static clfuse_buffer *take(clfuse_session *session) {
    pthread_mutex_lock(&session->lock);
    while (!session->free) pthread_cond_wait(&session->returned, &session->lock);
    clfuse_buffer *buffer = session->free;
    session->free = buffer->next;
    session->used++;
    pthread_mutex_unlock(&session->lock);
    return buffer;
}

void clfuse_buffer_release(clfuse_buffer *buffer) {
    clfuse_session *session = buffer->session;
    pthread_mutex_lock(&session->lock);
    buffer->next = session->free;
    session->free = buffer;
    session->used--;
    pthread_cond_signal(&session->returned);
    pthread_mutex_unlock(&session->lock);
}

void clfuse_buffer_counts(clfuse_session *session, uint32_t *used, uint32_t *total) {
    pthread_mutex_lock(&session->lock);
    *used = session->used;
    *total = session->buffer_count;
    pthread_mutex_unlock(&session->lock);
}

static bool make_buffers(clfuse_session *session, uint32_t count) {
    session->memory_bytes = (size_t)BUFFER_BYTES * count;
    session->memory = clinux_map_io_memory(session->memory_bytes);
    session->buffers = calloc(count, sizeof(clfuse_buffer));
    if (!session->memory || !session->buffers) return false;
    session->buffer_count = count;
    for (uint32_t index = 0; index < count; index++) {
        clfuse_buffer *buffer = &session->buffers[index];
        buffer->session = session;
        buffer->memory = (char *)session->memory + (size_t)index * BUFFER_BYTES;
        buffer->next = session->free;
        session->free = buffer;
    }
    return true;
}

static void initialize(void *data, struct fuse_conn_info *connection) {
    clfuse_session *session = data;
    session->protocol_minor = connection->proto_minor;
    connection->max_write = MAX_WRITE;
    connection->max_read = MAX_WRITE;
    connection->max_background = session->configuration.max_background;
    connection->congestion_threshold = session->configuration.max_background * 3 / 4;
    connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE
        | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV
        | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_AUTO_INVAL_DATA);
    unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS
        | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO;
    wanted |= session->configuration.writeback_cache ? FUSE_CAP_WRITEBACK_CACHE
                                                     : FUSE_CAP_AUTO_INVAL_DATA;
    connection->want |= wanted & connection->capable;
}

clfuse_session *clfuse_session_create(
    const clfuse_configuration *configuration, clfuse_handler handler, clfuse_killed killed,
    void *context) {
    clfuse_session *session = calloc(1, sizeof *session);
    if (!session) return NULL;
    session->configuration = *configuration;
    session->handler = handler;
    session->killed = killed;
    session->context = context;
    pthread_mutex_init(&session->lock, NULL);
    pthread_cond_init(&session->returned, NULL);
    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    struct fuse_lowlevel_ops operations = clfuse_operations();
    operations.init = initialize;
    bool is_ready = make_buffers(session, configuration->buffer_count)
        && fuse_opt_add_arg(&arguments, "localio-mount") == 0;
    if (is_ready && configuration->mount_options && *configuration->mount_options) {
        is_ready = fuse_opt_add_arg(&arguments, "-o") == 0
            && fuse_opt_add_arg(&arguments, configuration->mount_options) == 0;
    }
    if (is_ready && configuration->debug) is_ready = fuse_opt_add_arg(&arguments, "-d") == 0;
    if (is_ready) {
        session->fuse =
            fuse_session_new(&arguments, &operations, sizeof operations, session);
    }
    fuse_opt_free_args(&arguments);
    if (!session->fuse) {
        clfuse_session_destroy(session);
        return NULL;
    }
    return session;
}

int clfuse_session_mount(clfuse_session *session, const char *mount_point) {
    errno = 0;
    if (fuse_session_mount(session->fuse, mount_point) == 0) {
        session->is_mounted = true;
        return session->configuration.passthrough ? clfuse_passthrough_attach(session) : 0;
    }
    return errno ? -errno : -EINVAL;
}

int clfuse_session_serve(clfuse_session *session) {
    clfuse_buffer *buffer = NULL;
    int result = 0;
    while (!fuse_session_exited(session->fuse)) {
        if (!buffer) buffer = take(session);
        struct fuse_buf received = {
            .mem = buffer->memory + PAGE - HEADER, .size = 0, .flags = 0, .fd = -1};
        result = fuse_session_receive_buf(session->fuse, &received);
        if (result == -EINTR) continue;
        if (result <= 0) break;
        clfuse_current = (struct clfuse_current){.session = session, .buffer = buffer};
        if (session->configuration.passthrough && !session->protocol_minor) {
            clfuse_passthrough_look(received.mem, received.size);
        }
        fuse_session_process_buf(session->fuse, &received);
        if (clfuse_current.is_kept) buffer = NULL;
    }
    if (buffer) clfuse_buffer_release(buffer);
    // Every other thread would wait for a request that never comes only if the mount still
    // stood; when it is gone each of them reads the same end.
    fuse_session_exit(session->fuse);
    return result < 0 && result != -EINTR ? result : 0;
}

char *clfuse_payload(clfuse_buffer *buffer) { return buffer->memory + PAGE; }

void clfuse_session_stop(clfuse_session *session) { fuse_session_exit(session->fuse); }

uint32_t clfuse_session_protocol_minor(clfuse_session *session) {
    return session->protocol_minor;
}

void clfuse_session_close(clfuse_session *session) {
    if (!session->is_mounted) return;
    session->is_mounted = false;
    // Unmounts too if the mount still stands: the caller has unmounted before, in its own way.
    fuse_session_unmount(session->fuse);
}

void clfuse_session_destroy(clfuse_session *session) {
    if (session->fuse) fuse_session_destroy(session->fuse);
    if (session->memory) clinux_unmap_memory(session->memory, session->memory_bytes);
    free(session->buffers);
    pthread_cond_destroy(&session->returned);
    pthread_mutex_destroy(&session->lock);
    free(session);
}
