#!/bin/bash
# Prepares the guest kernel of Tests/Guest in a cache directory; run by Config/setup.sh --guest.
#
# What is there afterwards: vmlinux (uncompressed: saves seconds of emulation), initramfs.cpio
# (busybox and the modules that reach the host's files), modules/ (all of the kernel's), nfs/
# (the programs of nfs-kernel-server), release and recipe (the kernel's and this file's version).
set -eu
export LC_ALL=C

directory="${LOCALIO_GUEST:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/localio/guest}"
server=nfs-kernel-server
boot_modules="virtio_pci virtio_blk 9pnet_virtio 9p overlay"

fail() {
    echo "setup: guest: $*" >&2
    exit 1
}

# The package of the kernel that Debian's linux-image-amd64 stands for now.
kernel_package() {
    apt-cache depends --important linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

case "${1-}" in
    --list)
        name=$(kernel_package)
        echo "${name:-linux-image-amd64} (unpacked in $directory)"
        echo "$server (unpacked in $directory)"
        exit 0
        ;;
    "") ;;
    *) echo "setup: guest: unknown argument '$1'; none or --list" >&2; exit 64 ;;
esac

case "$directory" in
    /*) ;;
    *) fail "LOCALIO_GUEST is '$directory'; give an absolute path" ;;
esac
recipe=$(sha256sum <"$0" | cut -d ' ' -f 1)
mkdir -p "$(dirname "$directory")" || fail "cannot make $(dirname "$directory")"
exec 9>"$directory.lock"
flock 9
if [ "$(cat "$directory/recipe" 2>/dev/null || true)" = "$recipe" ]; then
    echo "setup: guest: $directory is prepared, nothing to do"
    exit 0
fi
[ ! -e "$directory" ] || [ -e "$directory/recipe" ] ||
    fail "$directory exists and is not a guest; set LOCALIO_GUEST to another directory"

work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 755 "$work"

# Downloads packages into $work/packages; the lists of packages are renewed only if needed.
download() {
    mkdir -p "$work/packages"
    (cd "$work/packages" && apt-get -qq -o APT::Sandbox::User=root download "$@")
}
as_root=""
[ "$(id -u)" -eq 0 ] || as_root=sudo
kernel=$(kernel_package)
echo "setup: guest: downloading ${kernel:-linux-image-amd64} and $server"
if [ -z "$kernel" ] || ! download "$kernel" "$server" 2>/dev/null; then
    $as_root apt-get update -qq || fail "apt-get update failed; is there a network?"
    kernel=$(kernel_package)
    [ -n "$kernel" ] || fail "apt knows no linux-image-amd64; is this Debian on x86-64?"
    download "$kernel" "$server" || fail "apt-get could not download $kernel and $server"
fi

dpkg -x "$work/packages/$kernel"_*.deb "$work/kernel"
dpkg -x "$work/packages/$server"_*.deb "$work/server"
release=$(basename "$work"/kernel/lib/modules/*)
mkdir -p "$work/guest/modules/lib" "$work/initramfs/bin" "$work/initramfs/modules"
mv "$work/kernel/lib/modules" "$work/guest/modules/lib/"
mv "$work/server" "$work/guest/nfs"
depmod -b "$work/guest/modules" "$release" || fail "depmod failed for $release"
for program in exportfs rpc.mountd rpc.nfsd; do
    lost=$(ldd "$work/guest/nfs/usr/sbin/$program" | sed -n 's/ => not found//p')
    [ -z "$lost" ] || fail "$program of $server misses" $lost
done

# The compressed image is one xz stream somewhere inside vmlinuz; data follows it.
offset=$(grep -abom 1 "$(printf '\375\067zXZ')" "$work/kernel/boot/vmlinuz-$release" |
    head -n 1 | cut -d : -f 1)
[ -n "$offset" ] || fail "vmlinuz-$release is not compressed with xz"
tail -c "+$((offset + 1))" "$work/kernel/boot/vmlinuz-$release" |
    xz -dc --single-stream >"$work/guest/vmlinux" 2>/dev/null || true
[ "$(head -c 4 "$work/guest/vmlinux" | tail -c 3)" = ELF ] ||
    fail "cannot unpack vmlinuz-$release"

number=100
for module in $boot_modules; do
    modprobe -d "$work/guest/modules" -S "$release" --show-depends "$module" ||
        fail "$release has no module $module"
done | sed -n 's/^insmod \(.*\.ko\).*/\1/p' | awk '!seen[$0]++' >"$work/order"
while read -r module; do
    cp "$module" "$work/initramfs/modules/$number-$(basename "$module")"
    number=$((number + 1))
done <"$work/order"
cp "$(command -v busybox)" "$work/initramfs/bin/busybox"

# The first process: the host's / read-only with a cover in memory, then the job's script.
cat >"$work/initramfs/init" <<'END'
#!/bin/busybox sh
fail() {
    echo "guest: $*"
    echo o >/proc/sysrq-trigger
    sleep 60
}
cd /
/bin/busybox mkdir -p /proc /sys /dev /host /cover /new
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
    insmod "$module" || fail "cannot load $module"
done
share=trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000
mount -t 9p -o "$share" host /host || fail "cannot mount the host's files"
mount -t tmpfs -o size=50% tmpfs /cover
mkdir /cover/upper /cover/work
mount -t overlay -o lowerdir=/host,upperdir=/cover/upper,workdir=/cover/work cover /new ||
    fail "cannot cover the host's files"
mount -t tmpfs tmpfs /new/run
mkdir -p /new/run/guest-job
mount -t 9p -o "$share" job /new/run/guest-job || fail "cannot mount the job"
for directory in proc sys dev; do mount --move "/$directory" "/new/$directory"; done
exec switch_root /new /bin/bash /run/guest-job/job
END
chmod 755 "$work/initramfs/init"
(cd "$work/initramfs" && find . | cpio --quiet -o -H newc) >"$work/guest/initramfs.cpio"
echo "$release" >"$work/guest/release"
echo "$recipe" >"$work/guest/recipe"
rm -rf "$directory"
mv "$work/guest" "$directory"
echo "setup: guest: $directory has Linux $release"
