// The low-level FUSE interface, at the oldest version that has everything the mount needs.
#pragma once
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
