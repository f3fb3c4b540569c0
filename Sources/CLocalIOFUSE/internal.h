// What the files of the fence share.
#pragma once
#define FUSE_USE_VERSION 314
#include "clocaliofuse.h"
#include <fuse_lowlevel.h>
#include <pthread.h>

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
    uint32_t protocol_minor;
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

struct fuse_lowlevel_ops clfuse_operations(void);
/// Where a buffer's payload lies.
char *clfuse_payload(clfuse_buffer *buffer);
