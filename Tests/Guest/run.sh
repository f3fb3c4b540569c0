#!/bin/bash
# Runs a program in the guest kernel that Config/setup.sh --guest has prepared.
set -u

usage() {
    cat <<END
usage: Tests/Guest/run.sh [OPTION…] PROGRAM [ARGUMENT…]

Boots the guest (QEMU, software emulation), runs PROGRAM there as root, and exits with its
status. The guest sees this machine's files as they are; what it changes is in its memory and
gone afterwards. PROGRAM finds the kernel's modules, LOCALIO_GUEST, an empty disk as /dev/vda if
--disk is given, all LOCALIO_ variables, and this working directory. Its output comes out here;
if it fails, the guest's console follows on standard error.

  --cpus COUNT       of the guest; 1: emulated, more of them make each slower
  --memory MIB       of the guest; 1024
  --disk MIB         an empty disk, /dev/vda, in a sparse temporary file
  --timeout SECONDS  from start to power-off; 60. Then the status is 124
  --help             prints this text and exits

Status 125: the guest did not start, or ended without running PROGRAM to its end.
END
}

complain() { echo "guest: $*" >&2; }

number() {
    case "$2" in
        "" | *[!0-9]* | 0*) complain "$1 '$2': give a whole number above 0"; exit 64 ;;
    esac
}

cpus=1
memory=1024
disk=""
limit=60
while [ $# -gt 0 ]; do
    case "$1" in
        --cpus) number "$1" "${2-}"; cpus=$2; shift 2 ;;
        --memory) number "$1" "${2-}"; memory=$2; shift 2 ;;
        --disk) number "$1" "${2-}"; disk=$2; shift 2 ;;
        --timeout) number "$1" "${2-}"; limit=$2; shift 2 ;;
        --help | -h) usage; exit 0 ;;
        -*) complain "unknown option '$1' (see Tests/Guest/run.sh --help)"; exit 64 ;;
        *) break ;;
    esac
done
if [ $# -eq 0 ]; then
    complain "no program given (see Tests/Guest/run.sh --help)"
    exit 64
fi
guest="${LOCALIO_GUEST:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/localio/guest}"
if [ ! -r "$guest/recipe" ]; then
    complain "no guest in $guest; run Config/setup.sh --guest"
    exit 125
fi
if ! command -v qemu-system-x86_64 >/dev/null; then
    complain "qemu-system-x86_64 is missing; run Config/setup.sh --guest"
    exit 125
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/localio-guest-XXXXXX") || exit 125
emulator=""
finish() {
    if [ -n "$emulator" ]; then
        # timeout passes the signal on and waits; killed itself, it would leave QEMU behind.
        kill "$emulator" 2>/dev/null
        wait "$emulator" 2>/dev/null
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/job"

# The first script in the guest, by the initramfs: what a system has, the program, power-off.
{
    echo '#!/bin/bash'
    echo 'stty -F /dev/ttyS1 -opost -echo'
    echo 'exec </dev/null >/dev/ttyS1 2>&1'
    echo 'mkdir -p /dev/shm /dev/pts'
    echo 'mount -t tmpfs tmpfs /dev/shm'
    echo 'mount -t devpts devpts /dev/pts'
    echo 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'
    echo 'ip link set lo up'
    printf 'cd %q\n' "$PWD"
    printf 'export PATH=%q HOME=/root LOCALIO_GUEST=%q\n' \
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$guest/nfs/usr/sbin:$PATH" \
        "$guest"
    for name in ${!LOCALIO_@}; do
        [ "$name" = LOCALIO_GUEST ] || printf 'export %s=%q\n' "$name" "${!name}"
    done
    # shellcheck disable=SC2016
    echo 'mkdir -p /lib/modules && ln -sfn "$LOCALIO_GUEST/modules/lib/modules/$(uname -r)" \
    "/lib/modules/$(uname -r)"'
    printf '%q ' "$@"
    echo
    echo 'echo "status $?" >/dev/ttyS2'
    # Setting a line waits until what was written is out.
    echo 'for line in 1 2; do stty -F "/dev/ttyS$line" -echo; done'
    echo 'sync'
    echo 'echo o >/proc/sysrq-trigger'
    echo 'read -r -t 60 </dev/ttyS0'
} >"$work/job/job"

# QEMU reads a comma in a file's name as two.
quoted() { printf '%s' "${1//,/,,}"; }

options=(
    -accel tcg,thread=multi -M pc -cpu max -smp "$cpus" -m "${memory}M"
    -nodefaults -no-user-config -display none -monitor none -no-reboot -net none
    -kernel "$guest/vmlinux" -initrd "$guest/initramfs.cpio"
    -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off"
    -serial "file:$(quoted "$work/console")" -serial stdio
    -serial "file:$(quoted "$work/status")"
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap
    -virtfs "local,path=$(quoted "$work/job"),mount_tag=job,security_model=none,readonly=on"
)
if [ -n "$disk" ]; then
    truncate -s "${disk}M" "$work/disk"
    options+=(
        -drive "file=$(quoted "$work/disk"),if=none,id=disk,format=raw,cache=unsafe"
        -device "virtio-blk-pci,drive=disk"
    )
fi
: >"$work/console"
timeout --kill-after=5 "$limit" qemu-system-x86_64 "${options[@]}" </dev/null \
    2>"$work/complaints" &
emulator=$!
wait "$emulator"
ended=$?
emulator=""

status=$(sed -n 's/^status \([0-9]*\).*/\1/p' "$work/status" 2>/dev/null | tail -n 1)
if [ "$ended" -eq 124 ] || [ "$ended" -eq 137 ]; then
    complain "still running after $limit s: $*"
    status=124
elif [ -z "$status" ]; then
    complain "ended before $1 did"
    status=125
fi
if [ "$status" -ne 0 ]; then
    complain "status $status; the guest's console:"
    sed 's/\r$//' "$work/complaints" "$work/console" >&2
fi
exit "$status"
