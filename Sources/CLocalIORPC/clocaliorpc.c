#include "clocaliorpc.h"
#include <rpc/rpc.h>
