#!/bin/bash
# In the guest: the nested-I/O context of every thread of the engine, read from the kernel, and a
# writeback load on XFS in a tight memory cgroup, with the context and without.
#
#   Tests/Guest/run.sh --disk 1024 Tests/Guest/context.sh DIRECTORY-OF-PROGRAMS
set -eu
program="${1:?give the directory of guest-context, such as .build/release}/guest-context"
limit="${LOCALIO_GUEST_LIMIT:-80}"

fail() {
    echo "context: $*"
    exit 1
}
uptime() { cut -d ' ' -f 1 /proc/uptime; }

[ -x "$program" ] || fail "$program is missing; build guest-context first"
modprobe xfs
mkfs.xfs -q -f /dev/vda
mkdir -p /mnt/xfs
mount /dev/vda /mnt/xfs
echo "context: Linux $(uname -r), XFS on a virtual disk, ready after $(uptime) s"

"$program" flags /mnt/xfs
"$program" flags /mnt/xfs --off
# What the checks look for must be what is missing in the other case.
if unshare --fork setpriv --bounding-set -sys_resource "$program" flags /mnt/xfs \
    >/run/refused 2>&1; then
    fail "the check passes without CAP_SYS_RESOURCE"
fi
grep -q 'wrong flags' /run/refused || fail "without CAP_SYS_RESOURCE: $(cat /run/refused)"
echo "context: without CAP_SYS_RESOURCE the check fails, as it should"

# The load with others in its cgroup: one dirties the page cache, one touches its memory.
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
load() {
    group="/sys/fs/cgroup/load$*"
    mkdir "$group"
    echo "${limit}M" >"$group/memory.max"
    (
        sh -c 'echo $$ >"$1/cgroup.procs"; while :; do
            dd if=/dev/zero of=/mnt/xfs/pressure bs=1M count=128 conv=notrunc 2>/dev/null
        done' pressure "$group" &
        echo $! >"/run/dirtier"
        sh -c 'echo $$ >"$1/cgroup.procs"; echo 1000 >/proc/self/oom_score_adj
            exec "$2" hog 16' hog "$group" "$program" &
        echo $! >"/run/hog"
    )
    sleep 1
    status=0
    sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' load "$group" \
        "$program" load /mnt/xfs --mib 64 "$@" || status=$?
    echo 1 >"$group/cgroup.kill"
    reached=$(sed -n 's/^max //p' "$group/memory.events")
    killed=$(sed -n 's/^oom_kill //p' "$group/memory.events")
    echo "context: memory limit of $limit MiB reached $reached times, $killed processes killed for it"
    [ "$status" -eq 0 ] || fail "the load failed with status $status"
    [ "$reached" -gt 0 ] || fail "the memory limit was never reached: no pressure"
}
load
load --off
umount /mnt/xfs || { sleep 1; umount /mnt/xfs; }
echo "context: done after $(uptime) s"
