#include "clocaliorpc_client.h"

#include <rpc/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct clocaliorpc_client {
    CLIENT *rpc;
};

struct argument {
    const void *bytes;
    size_t byte_count;
};

static void explain(char *reason, size_t capacity, const char *text) {
    snprintf(reason, capacity, "%s", text);
    reason[strcspn(reason, "\n")] = '\0';
}

void clocaliorpc_bind_privileged(int fd) { bindresvport_sa(fd, NULL); }

clocaliorpc_client *clocaliorpc_client_create(
    int fd, uint32_t program, uint32_t version, char *reason, size_t capacity) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    clocaliorpc_client *client = calloc(1, sizeof *client);
    if (client == NULL || getpeername(fd, (struct sockaddr *)&peer, &length) != 0) {
        explain(reason, capacity, client == NULL ? "no memory" : "not connected");
        free(client);
        close(fd);
        return NULL;
    }
    struct netbuf address = {.maxlen = length, .len = length, .buf = &peer};
    client->rpc = clnt_vc_create(fd, &address, program, version, 0, 0);
    if (client->rpc == NULL) {
        explain(reason, capacity, clnt_spcreateerror("libtirpc"));
        free(client);
        close(fd);
        return NULL;
    }
    CLNT_CONTROL(client->rpc, CLSET_FD_CLOSE, NULL);
    return client;
}

void clocaliorpc_client_destroy(clocaliorpc_client *client) {
    if (client == NULL) return;
    AUTH_DESTROY(client->rpc->cl_auth);
    CLNT_DESTROY(client->rpc);
    free(client);
}

static bool_t put_argument(XDR *xdr, void *raw) {
    const struct argument *argument = raw;
    return xdr_opaque(xdr, (char *)argument->bytes, (u_int)argument->byte_count);
}

static clocaliorpc_call_status call(
    clocaliorpc_client *client, uint32_t procedure, const void *bytes, size_t byte_count,
    int64_t timeout_nanoseconds, xdrproc_t get_results, void *results, char *reason,
    size_t capacity) {
    struct argument argument = {.bytes = bytes, .byte_count = byte_count};
    struct timeval timeout = {
        .tv_sec = timeout_nanoseconds / 1000000000,
        .tv_usec = timeout_nanoseconds % 1000000000 / 1000,
    };
    reason[0] = '\0';
    enum clnt_stat status = CLNT_CALL(
        client->rpc, procedure, (xdrproc_t)put_argument, &argument, get_results, results,
        timeout);
    if (status == RPC_SUCCESS) return CLOCALIORPC_CALL_ANSWERED;
    explain(reason, capacity, clnt_sperrno(status));
    switch (status) {
        case RPC_TIMEDOUT: return CLOCALIORPC_CALL_TIMED_OUT;
        case RPC_PROGUNAVAIL:
        case RPC_PROGVERSMISMATCH:
        case RPC_PROCUNAVAIL: return CLOCALIORPC_CALL_UNAVAILABLE;
        case RPC_CANTSEND:
        case RPC_CANTRECV: return CLOCALIORPC_CALL_BROKEN;
        default: return CLOCALIORPC_CALL_FAILED;
    }
}

clocaliorpc_call_status clocaliorpc_client_call(
    clocaliorpc_client *client, uint32_t procedure, const void *bytes, size_t byte_count,
    int64_t timeout_nanoseconds, char *reason, size_t capacity) {
    return call(
        client, procedure, bytes, byte_count, timeout_nanoseconds, (xdrproc_t)xdr_void, NULL,
        reason, capacity);
}

clocaliorpc_call_status clocaliorpc_client_call_as(
    clocaliorpc_client *client, const clocaliorpc_caller *caller, uint32_t procedure,
    const void *arguments, size_t byte_count, int64_t timeout_nanoseconds, uint32_t *first_word,
    char *reason, size_t capacity) {
    gid_t groups[16];
    int count = caller->group_count < 16 ? caller->group_count : 16;
    for (int index = 0; index < count; index++) groups[index] = caller->groups[index];
    AUTH *user = authunix_create("localio", caller->uid, caller->gid, count, groups);
    if (user == NULL) {
        explain(reason, capacity, "no memory");
        return CLOCALIORPC_CALL_FAILED;
    }
    AUTH *usual = client->rpc->cl_auth;
    client->rpc->cl_auth = user;
    clocaliorpc_call_status status = call(
        client, procedure, arguments, byte_count, timeout_nanoseconds,
        (xdrproc_t)xdr_u_int32_t, first_word, reason, capacity);
    client->rpc->cl_auth = usual;
    AUTH_DESTROY(user);
    return status;
}
