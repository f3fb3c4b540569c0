#!/bin/bash
# Runs what people run on a mount and checks what comes of it: git, SQLite, fio --verify, tar,
# rsync, stress-ng, dbench, PostgreSQL, and a file system on a loop device of a file there.
set -u

usage() {
    cat <<END
usage: Tests/Mount/workloads.sh [--short] [--only NAME[,NAME...]] DIR

Runs the workloads one after the other in a new directory of DIR, which is removed afterwards.
DIR may be on any file system; the tests give a localio mount.

  --short       a few seconds each, for CI
  --only NAMES  of git, tar, rsync, sqlite, fio, stress, dbench, postgres, loop; also slow,
                which only makes sense on slow storage with little memory
  --help        prints this text and exits

Exit status 0 when all passed; a workload whose program is not installed (Config/setup.sh
installs them all) is skipped with a line that says so, and fails with LOCALIO_CI=1.
END
}

short=""
only="git,tar,rsync,sqlite,fio,stress,dbench,postgres,loop"
while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --short) short=yes ;;
        --only) only="${2:?--only needs names}"; shift ;;
        -*) echo "workloads: unknown option '$1' (see --help)" >&2; exit 64 ;;
        *) break ;;
    esac
    shift
done
[ $# -eq 1 ] && [ -d "$1" ] || { usage >&2; exit 64; }

place=$(mktemp -d "$1/workloads-XXXXXX") || exit 1
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/workloads-XXXXXX") || exit 1
chmod 755 "$place" "$scratch"
server=""
cleanup() {
    [ -n "$server" ] && kill -INT "$server" 2>/dev/null && sleep 1
    mountpoint -q "$scratch/xfs" && umount "$scratch/xfs"
    for device in $(losetup -nO NAME -j "$place/disk" 2>/dev/null); do losetup -d "$device"; done
    rm -rf "$place" "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

scale() { [ -n "$short" ] && echo "$1" || echo "$2"; }

# A source tree and a repository, made here so that nothing is fetched.
make_tree() {
    mkdir -p "$scratch/tree"
    for part in 1 2 3 4 5; do
        mkdir -p "$scratch/tree/part$part/deep/er"
        for file in $(seq 1 "$(scale 20 200)"); do
            head -c $((file * 97 % 40000)) /dev/urandom | base64 \
                > "$scratch/tree/part$part/deep/file$file"
        done
        head -c $((part * 1000003)) /dev/urandom > "$scratch/tree/part$part/blob"
        ln -s ../part1/blob "$scratch/tree/part$part/link"
        chmod 751 "$scratch/tree/part$part/deep/file1"
    done
}

work_git() {
    command -v git >/dev/null || return 77
    make_tree
    (cd "$scratch/tree" && git init -q . && git config user.email a@b.c \
        && git config user.name tester && git add -A && git commit -q -m one) || return 1
    git clone -q --no-hardlinks "$scratch/tree" "$place/clone" || return 1
    cd "$place/clone" || return 1
    for round in $(seq 1 "$(scale 3 20)"); do
        echo "$round" > "note$round" && git add -A \
            && git -c user.email=a@b.c -c user.name=t commit -q -m "$round" || return 1
    done
    git gc -q && git fsck --strict && test -z "$(git status --porcelain)"
}

work_tar() {
    [ -d "$scratch/tree" ] || make_tree
    mkdir "$place/tar" && tar -C "$scratch" -cf - tree | tar -C "$place/tar" -xpf - || return 1
    (cd "$scratch/tree" && find . -type f -exec sha256sum {} + | sort) > "$scratch/sums"
    (cd "$place/tar/tree" && find . -type f -exec sha256sum {} + | sort) > "$scratch/seen"
    cmp "$scratch/sums" "$scratch/seen" || return 1
    tar -C "$place/tar" -cf "$place/back.tar" tree && tar -C "$scratch/tree/.." -df "$place/back.tar"
}

work_rsync() {
    command -v rsync >/dev/null || return 77
    [ -d "$scratch/tree" ] || make_tree
    # NFS-Ganesha 4.3 does not set the times of symbolic links.
    rsync -aJ "$scratch/tree/" "$place/copy/" && echo changed >> "$scratch/tree/part1/deep/file2" \
        && rsync -aJ --delete "$scratch/tree/" "$place/copy/" || return 1
    rsync -aJ "$place/copy/" "$scratch/back/" || return 1
    different=$(rsync -aJni --checksum --delete "$scratch/tree/" "$place/copy/")
    [ -z "$different" ] || { echo "$different"; return 1; }
    diff -r "$scratch/tree" "$scratch/back"
}

work_sqlite() {
    command -v sqlite3 >/dev/null || return 77
    base="$place/data.db"
    for mode in delete wal; do
        rm -f "$base"*
        sqlite3 "$base" "pragma journal_mode=$mode; create table t(round, body);" >/dev/null
        for round in $(seq 1 "$(scale 3 20)"); do
            (for batch in $(seq 1 1000); do
                echo "begin; insert into t select $batch, hex(randomblob(200)) from
                    generate_series(1,20); commit; select $batch;"
            done | sqlite3 "$base" > "$scratch/acknowledged") &
            writer=$!
            sleep 0.$((RANDOM % 5 + 2))
            pkill -9 -P "$writer" sqlite3 2>/dev/null
            wait "$writer" 2>/dev/null
            test "$(sqlite3 "$base" 'pragma integrity_check')" = ok || return 1
            sqlite3 "$base" "delete from t" || return 1
        done
    done
}

work_fio() {
    command -v fio >/dev/null || return 77
    size=$(scale 8m 128m)
    for job in "--rw=randwrite --bs=4k --direct=1 --ioengine=io_uring --iodepth=16" \
        "--rw=write --bs=1m --direct=1 --ioengine=psync" \
        "--rw=randrw --bs=512-64k --bs_unaligned --ioengine=psync --end_fsync=1" \
        "--rw=write --bs=128k --ioengine=psync --fsync_on_close=1" \
        "--rw=randwrite --bs=4k --ioengine=mmap"; do
        fio --name=verify --directory="$place" --size="$size" --verify=crc32c \
            --verify_state_save=0 $job > "$scratch/fio.log" 2>&1 || {
            tail -5 "$scratch/fio.log"
            return 1
        }
    done
}

work_stress() {
    command -v stress-ng >/dev/null || return 77
    for stressor in rename link symlink dentry dir fallocate hdd mmap iomix seek utime chmod \
        chown access dup fcntl flock filename getdent; do
        timeout -s KILL 120 stress-ng --quiet --"$stressor" 1 --temp-path "$place" --verify \
            --timeout "$(scale 1 10)" > "$scratch/stress.log" 2>&1 || {
            echo "$stressor:"
            tail -5 "$scratch/stress.log"
            return 1
        }
        [ -n "$short" ] && [ "$stressor" = hdd ] && break
    done
    return 0
}

work_dbench() {
    command -v dbench >/dev/null || return 77
    mkdir "$place/dbench"
    cd "$place" || return 1
    # dbench names its barrier, a System V semaphore, by its process number, which somebody else's
    # may have: then another process, with another number, before it has touched a file.
    for attempt in 1 2 3; do
        dbench -D "$place/dbench" -t "$(scale 3 30)" 2 > "$scratch/dbench.log" 2>&1 && break
        if [ "$attempt" = 3 ] || ! grep -q "create barrier semaphore" "$scratch/dbench.log"; then
            tail -5 "$scratch/dbench.log"
            return 1
        fi
    done
    ! grep -i -E "failed|error" "$scratch/dbench.log"
}

work_postgres() {
    programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
    [ -n "$programs" ] && [ -x "$programs/initdb" ] || return 77
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    as() { setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"; }
    mkdir "$place/pg" "$scratch/run" && chown "$user" "$place/pg" "$scratch/run" || return 1
    cd "$scratch/run" || return 1
    as "$programs/initdb" -D "$place/pg/data" -A trust --data-checksums -U tester \
        > "$scratch/pg.log" 2>&1 || { tail -5 "$scratch/pg.log"; return 1; }
    start() {
        # exec: the signals below are for the server, not for a shell around it.
        (exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
            "$programs/postgres" -D "$place/pg/data" -k "$scratch/run" -c listen_addresses= \
            -c shared_buffers=16MB) >> "$scratch/run/server.log" 2>&1 &
        server=$!
        for _ in $(seq 1 100); do
            "$programs/pg_isready" -q -h "$scratch/run" && return 0
            sleep 0.1
        done
        tail -5 "$scratch/run/server.log"
        return 1
    }
    start || return 1
    "$programs/createdb" -h "$scratch/run" -U tester bench || return 1
    "$programs/pgbench" -q -h "$scratch/run" -U tester -i -s "$(scale 1 10)" bench \
        > "$scratch/pgbench.log" 2>&1 || { tail -5 "$scratch/pgbench.log"; return 1; }
    "$programs/pgbench" -h "$scratch/run" -U tester -c 4 -T "$(scale 3 30)" bench \
        > "$scratch/pgbench.log" 2>&1 || { tail -5 "$scratch/pgbench.log"; return 1; }
    kill -9 "$server"
    wait "$server" 2>/dev/null
    for child in $(pgrep -u "$user" -f "postgres:" || true); do
        for _ in $(seq 1 50); do kill -0 "$child" 2>/dev/null && sleep 0.1; done
    done
    rm -f "$place/pg/data/postmaster.pid"
    start || return 1
    sums=$(psql -h "$scratch/run" -U tester -At -c "select (select sum(abalance) from
        pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)" bench)
    kill -INT "$server"
    wait "$server"
    server=""
    [ "$sums" = t ] || { echo "balances differ"; return 1; }
    as "$programs/pg_checksums" --check -D "$place/pg/data" > "$scratch/pg.log" 2>&1 \
        || { tail -5 "$scratch/pg.log"; return 1; }
}

# XFS on a loop device on a file of the mount: the mount is somebody's disk, and the loop driver's
# writes come from the kernel's own write-back.
work_loop() {
    command -v mkfs.xfs >/dev/null || return 77
    [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] || return 77
    mkdir -p "$scratch/xfs"
    for direct in off on; do
        truncate -s 320M "$place/disk" || return 1
        device=$(losetup --find --show --direct-io=$direct "$place/disk") || return 1
        mkfs.xfs -q -f "$device" && mount "$device" "$scratch/xfs" || return 1
        for job in "--rw=randwrite --bs=4k --ioengine=psync --end_fsync=1" \
            "--rw=randwrite --bs=16k --direct=1 --ioengine=io_uring --iodepth=8"; do
            fio --name=verify --directory="$scratch/xfs" --size="$(scale 16m 160m)" \
                --verify=crc32c --verify_state_save=0 $job > "$scratch/fio.log" 2>&1 || {
                tail -5 "$scratch/fio.log"
                return 1
            }
        done
        umount "$scratch/xfs" && xfs_repair -n "$device" > "$scratch/repair.log" 2>&1 \
            && losetup -d "$device" && rm "$place/disk" || {
            tail -5 "$scratch/repair.log"
            return 1
        }
    done
}

# For slow storage and little memory: several writers that dirty more than fits, and a reader, for
# a given time; then everything written is read back.
work_slow() {
    command -v fio >/dev/null || return 77
    timeout -s KILL $(($(scale 20 600) + 300)) fio --directory="$place" --size=96m \
        --ioengine=psync --group_reporting --time_based --runtime="$(scale 20 600)" \
        --name=sequential --rw=write --bs=1m --numjobs=2 \
        --name=random --rw=randrw --bs=4k --fsync=64 \
        --name=mapped --rw=randwrite --bs=4k --ioengine=mmap \
        --name=direct --rw=randwrite --bs=64k --direct=1 > "$scratch/fio.log" 2>&1 || {
        tail -5 "$scratch/fio.log"
        return 1
    }
    sync "$place"
    timeout -s KILL 300 fio --name=verify --directory="$place" --size=64m --rw=randwrite \
        --bs=64k --ioengine=psync --end_fsync=1 --verify=crc32c --verify_state_save=0 \
        > "$scratch/fio.log" 2>&1 || { tail -5 "$scratch/fio.log"; return 1; }
}

failed=0
for name in ${only//,/ }; do
    declare -F "work_$name" >/dev/null || {
        echo "workloads: unknown workload '$name' (see --help)" >&2
        exit 64
    }
    begun=$SECONDS
    # A shell of its own: a workload may change its directory and set what it likes.
    ("work_$name") > "$scratch/output" 2>&1
    status=$?
    case $status in
        0) echo "$name: ok ($((SECONDS - begun)) s)" ;;
        77)
            echo "$name: skipped: not installed; run Config/setup.sh"
            [ "${LOCALIO_CI-}" = 1 ] && failed=1
            ;;
        *)
            echo "$name: FAILED (status $status)"
            sed 's/^/  /' "$scratch/output" | tail -20
            failed=1
            ;;
    esac
done
exit $failed
