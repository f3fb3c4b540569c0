// libnfs's raw NFSv3 calls, the ground NFSClient stands on: imported there and nowhere else,
// because libnfs-zdr.h and libtirpc's headers define the same names.
#pragma once
#include <sys/time.h>
#include <sys/types.h>
#include <stdint.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw-mount.h>
