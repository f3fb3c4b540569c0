#!/bin/bash
# In the guest: the nested-I/O context of every thread of the engine, read from the kernel, and a
# writeback load on XFS in a tight memory cgroup, with the context and without.
#
#   Tests/Guest/run.sh --disk 1024 Tests/Guest/context.sh DIRECTORY-OF-PROGRAMS
#
# LOCALIO_GUEST_ROUNDS: pairs of loads (1); LOCALIO_GUEST_LIMIT: the cgroup's MiB (80).
set -eu
program="${1:?give the directory of guest-context, such as .build/release}/guest-context"
limit="${LOCALIO_GUEST_LIMIT:-80}"
rounds="${LOCALIO_GUEST_ROUNDS:-1}"

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
if setpriv --bounding-set -sys_resource "$program" flags /mnt/xfs >/run/refused 2>&1; then
    fail "the check passes without CAP_SYS_RESOURCE"
fi
grep -q 'wrong flags' /run/refused || fail "without CAP_SYS_RESOURCE: $(cat /run/refused)"
echo "context: without CAP_SYS_RESOURCE the check fails, as it should"

# The load with others in its cgroup: one dirties the page cache, one touches its memory. The same
# load each time, the two cases in turn: compare them over rounds, and with one case's own spread.
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
export LOCALIO_SEED="${LOCALIO_SEED:-$RANDOM$RANDOM}"
join='echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
dirty='while :; do dd if=/dev/zero of=/mnt/xfs/pressure bs=256k count=512 conv=notrunc; done'
# Waits until a line of a file matches, at most 30 s. Starts no process: emulation is slow.
await() {
    end=$((SECONDS + 30))
    while [ "$SECONDS" -lt "$end" ]; do
        while read -r line; do
            [[ ! $line =~ $2 ]] || return 0
        done <"$1"
        read -r -t 0.1 <>/run/nothing || true
    done
    fail "$1 did not become '$2': $(tr '\n' ' ' <"$1")"
}
mkfifo /run/nothing
load() {
    group=$(mktemp -d /sys/fs/cgroup/load-XXXXXX)
    echo "${limit}M" >"$group/memory.max"
    # A new file: the page cache of the old one counts for the group before.
    rm -f /mnt/xfs/pressure
    sh -c "$join" join "$group" sh -c "$dirty" 2>/dev/null &
    sh -c "$join" join "$group" choom -n 1000 -- "$program" hog 36 &
    disown -a
    await "$group/memory.events" '^max [1-9]'
    status=0
    sh -c "$join" join "$group" "$program" load /mnt/xfs --mib 64 "$@" || status=$?
    events=$(sed -n -e 's/^max /reached /p' -e 's/^oom_kill /killed /p' "$group/memory.events")
    echo "  the group's memory limit of $limit MiB:" $events
    echo 1 >"$group/cgroup.kill"
    await "$group/cgroup.events" '^populated 0'
    rmdir "$group"
    [ "$status" -eq 0 ] || fail "the load failed with status $status"
}
for _ in $(seq "$rounds"); do
    load
    load --off
done
umount /mnt/xfs
echo "context: done after $(uptime) s"
