#!/bin/bash
# In the guest: the Linux kernel's own NFS server, its exports local by the process's own look and
# by the agent, beside the RPC that the same client does without.
#
#   Tests/Guest/run.sh --disk 1024 Tests/Guest/knfsd.sh DIRECTORY-OF-PROGRAMS
set -eu
programs="${1:?give the directory of localio-bench and localiod, such as .build/release}"
bench="$programs/localio-bench"
localiod="$programs/localiod"
out=/run/knfsd
unset LOCALIO_SOCKET
mkdir -p "$out"

fail() {
    echo "knfsd: $*"
    exit 1
}
uptime() { cut -d ' ' -f 1 /proc/uptime; }

# Runs a command, shows its output, keeps it in $out/NAME, and ends the script if it fails.
step() {
    name=$1
    shift
    echo "knfsd: $name: $* ($(uptime) s)"
    if ! "$@" >"$out/$name" 2>&1; then
        cat "$out/$name"
        fail "$name failed"
    fi
    cat "$out/$name"
}
expect() { grep -q -- "$2" "$out/$1" || fail "$1 does not say '$2'"; }

[ -x "$bench" ] && [ -x "$localiod" ] || fail "build localio-bench and localiod first"

# Three exports, so that handles name the file system in three ways: UUID (the root of XFS),
# inode and UUID (a directory of ext4), a number (fsid=).
modprobe -a xfs ext4 nfsd
modprobe brd rd_nr=1 rd_size=98304
mkfs.xfs -q -f /dev/vda
mkdir -p /srv/xfs /srv/ext4
mount /dev/vda /srv/xfs
mkfs.ext4 -q /dev/ram0
mount /dev/ram0 /srv/ext4
mkdir /srv/ext4/directory /srv/ext4/number
for file in directory/private directory/shared directory/own number/private; do
    head -c 4096 /dev/zero >"/srv/ext4/$file"
done
chmod 600 /srv/ext4/*/private /srv/ext4/directory/own
chown nobody /srv/ext4/directory/own
mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p /var/lib/nfs /run/rpcbind
: >/var/lib/nfs/etab
: >/var/lib/nfs/rmtab
options=rw,sync,insecure,no_subtree_check,no_wdelay
cat >/etc/exports <<END
/srv/xfs 127.0.0.1($options,no_root_squash)
/srv/ext4/directory 127.0.0.1($options,no_root_squash)
/srv/ext4/number 127.0.0.1($options,root_squash,fsid=7)
END
rpcbind -w
exportfs -ra
rpc.mountd -p 20048 -N 4
rpc.nfsd -N 4 4
echo "knfsd: Linux $(uname -r) serves after $(uptime) s:"
exportfs

# File data, by the process's own look: all of it local, the context active, each block verified.
step probe "$bench" probe nfs://127.0.0.1/srv/xfs
expect probe '^local (nonce_file)'
step bench "$bench" --server nfs://127.0.0.1/srv/xfs --directory /srv/xfs \
    --rw randrw --bs 4k --iodepth 8 --size 2m --runtime 300ms --rounds 1 --verify \
    --format json --output "$out/report"
grep -E '"(road|iops|fallbacks|verified|io_flusher|locality)":' "$out/report"
[ "$(grep -c '"verified": true' "$out/report")" -eq 3 ] || fail "a road was not verified"
[ "$(grep -c '"fallbacks": {}' "$out/report")" -eq 3 ] || fail "an I/O took another road"
grep -q '"io_flusher": "active"' "$out/report" || fail "the client's engine has no context"
grep -q '"locality": "local (nonce_file)"' "$out/report" || fail "the client was not local"

# By the agent, which here finds files by knfsd's handles or not at all.
"$localiod" agent --find-by handle >"$out/agent-log" 2>&1 &
agent=$!
for _ in $(seq 300); do
    [ ! -S /run/localio/agent.sock ] || break
    sleep 0.1
done
step check "$localiod" check --find-by handle
[ "$(grep -c "right; files are found by knfsd's handles" "$out/check")" -eq 3 ] ||
    fail "not all three exports are found by handle"
step agent-probe "$bench" probe nfs://127.0.0.1/srv/xfs
expect agent-probe '^local (agent)'
step agent-open "$bench" open --server nfs://127.0.0.1/srv/ext4/directory \
    --directory /srv/ext4/directory --count 10
expect agent-open '^localio .* local (agent)'

# The server goes and comes back: the agent sees both by itself.
says() {
    for _ in $(seq 300); do
        [ "$(grep -c -- "$2" "$out/agent-log")" -lt "$1" ] || return 0
        sleep 0.1
    done
    fail "the agent did not say '$2' $1 times: $(cat "$out/agent-log")"
}
says 3 'export ready'
rpc.nfsd 0
says 1 'the server is gone'
rpc.nfsd -N 4 4
says 6 'export ready'
echo "knfsd: stopped and started: the agent lost the server and served its exports again"

# The server is the judge: what it grants nobody, and what it squashes root to.
install -m 755 "$bench" "$out/bench"
chmod 755 "$out"
step nobody setpriv --reuid nobody --regid nogroup --clear-groups "$out/bench" try-files \
    nfs://127.0.0.1/srv/ext4/directory private shared own
expect nobody '^private readOnly access_denied 13$'
expect nobody '^shared readOnly local ok$'
expect nobody '^shared readWrite access_denied 13$'
expect nobody '^own readWrite local ok$'
step squashed "$bench" try-files nfs://127.0.0.1/srv/ext4/number private
expect squashed '^private readOnly access_denied 13$'
kill "$agent"
wait "$agent" || fail "the agent ended with status $?: $(cat "$out/agent-log")"
echo "knfsd: done after $(uptime) s"
