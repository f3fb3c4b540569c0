#include "clocaliorpc.h"

#include <netinet/in.h>
#include <rpc/rpc.h>
#include <rpc/pmap_clnt.h>

bool clocaliorpc_register(uint32_t program, uint32_t version, uint16_t port) {
    // An entry left by a process that was killed would make the portmapper refuse.
    pmap_unset(program, version);
    return pmap_set(program, version, IPPROTO_TCP, port);
}

void clocaliorpc_unregister(uint32_t program, uint32_t version) { pmap_unset(program, version); }
