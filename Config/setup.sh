#!/bin/bash
# Installs the Debian packages that building, testing and measuring LocalIO needs.
set -eu

packages="
    libtirpc-dev libnfs-dev liburing-dev libfuse3-dev pkg-config
    fuse3 nfs-ganesha nfs-ganesha-vfs rpcbind libnfs-utils
    fio xfsprogs e2fsprogs kmod util-linux mount attr acl iproute2 procps systemd
    valgrind binutils
    git sqlite3 rsync stress-ng dbench postgresql
"
# For Tests/Guest, with --guest. The last ones are what the programs of nfs-kernel-server load.
guest_packages="
    qemu-system-x86 busybox-static cpio kmod xz-utils xfsprogs rpcbind iproute2
    libevent-core-2.1-7 libwrap0 libtirpc3 libblkid1 libuuid1
"

usage() {
    cat <<END
usage: Config/setup.sh [--help] [--list] [--guest]

Installs, with apt-get and without recommended packages, what LocalIO is built with, tested
against and measured beside. Does nothing when everything is there. Needs root or sudo.
Servers among the packages (NFS-Ganesha, rpcbind) are not started by the installation.

  --guest  also installs QEMU and prepares the guest kernel of Tests/Guest: Debian's kernel and
           NFS server, unpacked and not installed, in the directory that LOCALIO_GUEST names,
           by default localio/guest in XDG_CACHE_HOME or ~/.cache (about 500 MB); remove the
           directory to prepare it anew
  --list   prints the packages and exits; with --guest also what the guest is made of
  --help   prints this text and exits
END
}

fail() {
    echo "setup: $*" >&2
    exit 1
}

guest=""
list=""
for argument; do
    case "$argument" in
        --help | -h) usage; exit 0 ;;
        --list) list=yes ;;
        --guest) guest=yes ;;
        *) echo "setup: unknown argument '$argument' (see Config/setup.sh --help)" >&2; exit 64 ;;
    esac
done
[ -z "$guest" ] || packages="$packages $guest_packages"
packages=$(printf '%s\n' $packages | awk '!seen[$0]++')
prepare="$(cd "$(dirname "$0")" && pwd)/guest.sh"
if [ -n "$list" ]; then
    printf '%s\n' $packages
    [ -z "$guest" ] || "$prepare" --list
    exit 0
fi

command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 ||
    fail "this is not Debian (no apt-get); install the counterparts of:" $packages

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "setup: everything is installed, nothing to do"
    [ -z "$guest" ] || exec "$prepare"
    exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    fail "installing$missing needs root: run this as root, or install sudo"
fi

# Until the end of the installation this file tells Debian's maintainer scripts to start no
# service (policy-rc.d answers 101, "forbidden"). A policy that is already there is left alone.
policy=/usr/sbin/policy-rc.d
own_policy=""
remove_policy() {
    if [ -n "$own_policy" ]; then
        $as_root rm -f "$policy"
        own_policy=""
    fi
}
trap remove_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$policy" ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

echo "setup: installing$missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q ||
    fail "apt-get update failed; is there a network and a package source?"
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends $missing ||
    fail "apt-get could not install:$missing"
remove_policy
echo "setup: done"
[ -z "$guest" ] || exec "$prepare"
