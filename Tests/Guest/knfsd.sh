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
refuse() { ! grep -q -- "$2" "$out/$1" || fail "$1 says '$2'"; }

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
chmod 777 /srv/xfs /srv/ext4/directory /srv/ext4/number
mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p /var/lib/nfs /run/rpcbind
: >/var/lib/nfs/etab
: >/var/lib/nfs/rmtab
options=rw,sync,no_root_squash,insecure,no_subtree_check,no_wdelay
cat >/etc/exports <<END
/srv/xfs 127.0.0.1($options)
/srv/ext4/directory 127.0.0.1($options)
/srv/ext4/number 127.0.0.1($options,fsid=7)
END
rpcbind -w
exportfs -ra
rpc.mountd -p 20048 -N 4
rpc.nfsd -N 4 4
echo "knfsd: Linux $(uname -r) serves after $(uptime) s:"
exportfs

for export in /srv/xfs /srv/ext4/directory /srv/ext4/number; do
    step "probe${export//\//-}" "$bench" probe "nfs://127.0.0.1$export"
done
