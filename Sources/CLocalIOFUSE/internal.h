// What the files of the fence share.
#pragma once
#define FUSE_USE_VERSION 314
#include "clocaliofuse.h"
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

struct clfuse_buffer {
    clfuse_session *session;
    clfuse_buffer *next;
    char *memory;
};

struct clfuse_session {
    struct fuse_session *fuse;
    clfuse_configuration configuration;
    clfuse_handler handler;
    clfuse_killed killed;
    void *context;
    // Learned by the thread that receives INIT, looked at by all.
    _Atomic uint32_t protocol_minor;
    atomic_bool passes_through;
    bool is_mounted;
    // Guards the free list and the count beneath it.
    pthread_mutex_t lock;
    pthread_cond_t returned;
    clfuse_buffer *free;
    uint32_t used;
    clfuse_buffer *buffers;
    uint32_t buffer_count;
    void *memory;
    size_t memory_bytes;
};

/// What the calling receiving thread is at.
struct clfuse_current {
    clfuse_session *session;
    clfuse_buffer *buffer;
    bool is_kept;
};
extern _Thread_local struct clfuse_current clfuse_current;

/// Passthrough: a part of the protocol that libfuse 3.14 does not know. Its answers are completed
/// on their way to the kernel.
int clfuse_passthrough_attach(clfuse_session *session);
void clfuse_passthrough_look(const void *request, size_t byte_count);
void clfuse_passthrough_begin_open(int32_t backing);
void clfuse_passthrough_end_open(void);

struct fuse_lowlevel_ops clfuse_operations(void);
/// Where a buffer's payload lies.
char *clfuse_payload(clfuse_buffer *buffer);
