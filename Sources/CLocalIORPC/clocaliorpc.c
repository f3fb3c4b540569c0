#include "clocaliorpc.h"

#include <rpc/rpc.h>
#include <stdlib.h>
#include <string.h>

// --- records ---

enum { STREAM_BUFFER = 256 * 1024, FIRST_CAPACITY = 4096, LARGEST_STEP = 64 * 1024 };

struct clocaliorpc_records {
    XDR xdr;
    void *context;
    clocaliorpc_read read;
    bool ended;
};

static int read_stream(void *raw, void *buffer, int byte_count) {
    clocaliorpc_records *records = raw;
    int result = records->ended ? -1 : records->read(records->context, buffer, byte_count);
    // Zero would make xdrrec ask again for ever.
    if (result <= 0) records->ended = true;
    return result <= 0 ? -1 : result;
}

static int write_nothing(void *raw, void *buffer, int byte_count) {
    (void)raw, (void)buffer, (void)byte_count;
    return -1;
}

clocaliorpc_records *clocaliorpc_records_create(void *context, clocaliorpc_read read) {
    clocaliorpc_records *records = calloc(1, sizeof *records);
    if (records == NULL) return NULL;
    records->context = context;
    records->read = read;
    xdrrec_create(&records->xdr, 128, STREAM_BUFFER, records, read_stream, write_nothing);
    // Without memory xdrrec_create reports to the log and leaves the function table unset.
    if (records->xdr.x_ops == NULL) {
        free(records);
        return NULL;
    }
    records->xdr.x_op = XDR_DECODE;
    return records;
}

void clocaliorpc_records_destroy(clocaliorpc_records *records) {
    if (records == NULL) return;
    XDR_DESTROY(&records->xdr);
    free(records);
}

static bool reserve(uint8_t **buffer, size_t *capacity, size_t needed) {
    if (needed <= *capacity) return true;
    size_t wanted = *capacity < FIRST_CAPACITY ? FIRST_CAPACITY : *capacity;
    while (wanted < needed) wanted *= 2;
    uint8_t *grown = realloc(*buffer, wanted);
    if (grown == NULL) return false;
    *buffer = grown;
    *capacity = wanted;
    return true;
}

// xdrrec hands out no count of what is left in a record, and the call that would read "up to"
// a count is not exported. Its inline access, though, consumes nothing when it fails: so take
// ever smaller pieces of what lies buffered, and let one word cross each buffer or fragment.
int64_t clocaliorpc_records_next(
    clocaliorpc_records *records, uint8_t **buffer, size_t *capacity, size_t limit) {
    XDR *xdr = &records->xdr;
    size_t length = 0;
    if (!xdrrec_skiprecord(xdr) || records->ended) return CLOCALIORPC_ENDED;
    for (;;) {
        for (size_t step = LARGEST_STEP; step >= BYTES_PER_XDR_UNIT;) {
            const void *piece = XDR_INLINE(xdr, (u_int)step);
            if (piece == NULL) {
                step /= 2;
                continue;
            }
            if (length + step > limit) return CLOCALIORPC_TOO_LONG;
            if (!reserve(buffer, capacity, length + step)) return CLOCALIORPC_NO_MEMORY;
            memcpy(*buffer + length, piece, step);
            length += step;
        }
        char word[BYTES_PER_XDR_UNIT];
        if (!XDR_GETBYTES(xdr, word, BYTES_PER_XDR_UNIT))
            return records->ended ? CLOCALIORPC_ENDED : (int64_t)length;
        if (length + sizeof word > limit) return CLOCALIORPC_TOO_LONG;
        if (!reserve(buffer, capacity, length + sizeof word)) return CLOCALIORPC_NO_MEMORY;
        memcpy(*buffer + length, word, sizeof word);
        length += sizeof word;
    }
}

// --- cursor ---

struct clocaliorpc_cursor {
    XDR xdr;
};

clocaliorpc_cursor *clocaliorpc_cursor_create(void) {
    return calloc(1, sizeof(clocaliorpc_cursor));
}
void clocaliorpc_cursor_destroy(clocaliorpc_cursor *cursor) { free(cursor); }

void clocaliorpc_cursor_decode(clocaliorpc_cursor *cursor, const void *bytes, size_t byte_count) {
    xdrmem_create(&cursor->xdr, (char *)bytes, (u_int)byte_count, XDR_DECODE);
}
void clocaliorpc_cursor_encode(clocaliorpc_cursor *cursor, void *bytes, size_t byte_count) {
    xdrmem_create(&cursor->xdr, bytes, (u_int)byte_count, XDR_ENCODE);
}
size_t clocaliorpc_cursor_position(const clocaliorpc_cursor *cursor) {
    return XDR_GETPOS((XDR *)&cursor->xdr);
}
bool clocaliorpc_cursor_seek(clocaliorpc_cursor *cursor, size_t position) {
    return XDR_SETPOS(&cursor->xdr, (u_int)position);
}

bool clocaliorpc_get_u32(clocaliorpc_cursor *cursor, uint32_t *value) {
    return xdr_uint32_t(&cursor->xdr, value);
}
bool clocaliorpc_get_u64(clocaliorpc_cursor *cursor, uint64_t *value) {
    return xdr_uint64_t(&cursor->xdr, value);
}
const void *clocaliorpc_get_in_place(clocaliorpc_cursor *cursor, size_t byte_count) {
    if (byte_count > UINT32_MAX - BYTES_PER_XDR_UNIT) return NULL;
    size_t padded = (byte_count + BYTES_PER_XDR_UNIT - 1) & ~(size_t)(BYTES_PER_XDR_UNIT - 1);
    if (padded > cursor->xdr.x_handy) return NULL;
    return XDR_INLINE(&cursor->xdr, (u_int)padded);
}
bool clocaliorpc_put_u32(clocaliorpc_cursor *cursor, uint32_t value) {
    return xdr_uint32_t(&cursor->xdr, &value);
}
bool clocaliorpc_put_u64(clocaliorpc_cursor *cursor, uint64_t value) {
    return xdr_uint64_t(&cursor->xdr, &value);
}
bool clocaliorpc_put_opaque(clocaliorpc_cursor *cursor, const void *bytes, size_t byte_count) {
    return xdr_opaque(&cursor->xdr, (char *)bytes, (u_int)byte_count);
}

// --- messages ---

static bool get_sys_credentials(const struct opaque_auth *credentials, clocaliorpc_call *call) {
    XDR xdr;
    gid_t groups[NGRPS];
    // Given memory for the name and the groups, libtirpc allocates none.
    struct authunix_parms parameters = {
        .aup_machname = call->machine_name,
        .aup_gids = groups,
    };
    xdrmem_create(&xdr, credentials->oa_base, credentials->oa_length, XDR_DECODE);
    if (!xdr_authunix_parms(&xdr, &parameters)) return false;
    if (parameters.aup_len > CLOCALIORPC_GROUP_LIMIT) return false;
    call->uid = parameters.aup_uid;
    call->gid = parameters.aup_gid;
    call->group_count = parameters.aup_len;
    for (unsigned index = 0; index < parameters.aup_len; index++)
        call->groups[index] = groups[index];
    return true;
}

clocaliorpc_call_result clocaliorpc_get_call(clocaliorpc_cursor *cursor, clocaliorpc_call *call) {
    char credentials[MAX_AUTH_BYTES], verifier[MAX_AUTH_BYTES];
    struct rpc_msg message;
    memset(&message, 0, sizeof message);
    memset(call, 0, offsetof(clocaliorpc_call, machine_name) + 1);
    message.rm_call.cb_cred.oa_base = credentials;
    message.rm_call.cb_verf.oa_base = verifier;
    uint32_t xid = 0, direction = 0, version = 0;
    if (!xdr_uint32_t(&cursor->xdr, &xid) || !xdr_uint32_t(&cursor->xdr, &direction) ||
        !xdr_uint32_t(&cursor->xdr, &version) || direction != CALL)
        return CLOCALIORPC_CALL_NONSENSE;
    call->xid = xid;
    // xdr_callmsg refuses another version like any nonsense; the RFC wants it told apart.
    if (version != RPC_MSG_VERSION) return CLOCALIORPC_CALL_RPC_MISMATCH;
    XDR_SETPOS(&cursor->xdr, 0);
    if (!xdr_callmsg(&cursor->xdr, &message)) return CLOCALIORPC_CALL_BAD_CREDENTIALS;
    call->program = (uint32_t)message.rm_call.cb_prog;
    call->version = (uint32_t)message.rm_call.cb_vers;
    call->procedure = (uint32_t)message.rm_call.cb_proc;
    call->flavor = (uint32_t)message.rm_call.cb_cred.oa_flavor;
    if (call->flavor == CLOCALIORPC_FLAVOR_NONE) return CLOCALIORPC_CALL_OK;
    if (call->flavor != CLOCALIORPC_FLAVOR_SYS) return CLOCALIORPC_CALL_UNKNOWN_FLAVOR;
    return get_sys_credentials(&message.rm_call.cb_cred, call) ? CLOCALIORPC_CALL_OK
                                                               : CLOCALIORPC_CALL_BAD_CREDENTIALS;
}

static bool put_no_results(XDR *xdr, ...) {
    (void)xdr;
    return true;
}

bool clocaliorpc_put_accepted(
    clocaliorpc_cursor *cursor, uint32_t xid, clocaliorpc_accept_status status, uint32_t low,
    uint32_t high) {
    struct rpc_msg message;
    memset(&message, 0, sizeof message);
    message.rm_xid = xid;
    message.rm_direction = REPLY;
    message.rm_reply.rp_stat = MSG_ACCEPTED;
    message.acpted_rply.ar_stat = (enum accept_stat)status;
    if (status == CLOCALIORPC_SUCCESS) {
        message.acpted_rply.ar_results.proc = (xdrproc_t)put_no_results;
    } else if (status == CLOCALIORPC_PROGRAM_MISMATCH) {
        message.acpted_rply.ar_vers.low = low;
        message.acpted_rply.ar_vers.high = high;
    }
    return xdr_replymsg(&cursor->xdr, &message);
}

bool clocaliorpc_put_denied(
    clocaliorpc_cursor *cursor, uint32_t xid, clocaliorpc_call_result reason) {
    struct rpc_msg message;
    memset(&message, 0, sizeof message);
    message.rm_xid = xid;
    message.rm_direction = REPLY;
    message.rm_reply.rp_stat = MSG_DENIED;
    if (reason == CLOCALIORPC_CALL_RPC_MISMATCH) {
        message.rjcted_rply.rj_stat = RPC_MISMATCH;
        message.rjcted_rply.rj_vers.low = RPC_MSG_VERSION;
        message.rjcted_rply.rj_vers.high = RPC_MSG_VERSION;
    } else {
        message.rjcted_rply.rj_stat = AUTH_ERROR;
        message.rjcted_rply.rj_why =
            reason == CLOCALIORPC_CALL_UNKNOWN_FLAVOR ? AUTH_TOOWEAK : AUTH_BADCRED;
    }
    return xdr_replymsg(&cursor->xdr, &message);
}
