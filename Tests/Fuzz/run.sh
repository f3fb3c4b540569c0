#!/bin/bash
# Fuzzes what hostile bytes reach first, with libFuzzer and Address Sanitizer (and its leak check):
#   Tests/Fuzz/run.sh messages|calls [seconds]
# messages: the hand-off's messages and frames. calls: the LOCALIO program's record marking, call
# header, arguments and reply. The corpus beside this script is the start; what is found new goes
# to a temporary directory, and is left there if something was wrong.
set -eu
target=${1:-}
seconds=${2:-600}
case "$target" in
    messages | calls) ;;
    *) echo "usage: $0 messages|calls [seconds]" >&2; exit 64 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
sources="$here/../../Sources"
work=$(mktemp -d)
mkdir "$work/source" "$work/found"

# The pure files as one module: no other package and no thread is needed for them.
files=("$sources"/NFSTypes/*.swift "$sources"/AgentProtocol/AgentProtocol.swift
    "$sources"/AgentProtocol/AgentMessage.swift "$here/$target.swift")
options=()
if [ "$target" = messages ]; then
    files+=("$sources"/AgentProtocol/{AgentMessage+Coding,ByteReader,FrameAssembler}.swift)
else
    server="$sources/LocalIOServer"
    files+=("$sources"/Threads/Lock.swift "$here"/../LocalIOServerTests/CallFeed.swift
        "$server"/{CallCodec,XDRReader,XDRWriter,Descriptor,ThreadIdentity,ServerLimits}.swift
        "$server"/Agent/{LocalIOProgram,NonceTable}.swift)
    for fence in CLocalIORPC CLinux; do
        mkdir "$work/$fence"
        echo "module $fence { umbrella \"$sources/$fence/include\" export * }" \
            >"$work/$fence/module.modulemap"
        options+=(-Xcc "-fmodule-map-file=$work/$fence/module.modulemap")
        options+=(-Xcc "-I$sources/$fence/include")
    done
    read -ra tirpc <<<"$(pkg-config --cflags --libs libtirpc)"
    for file in "$sources"/CLocalIORPC/clocaliorpc.c "$sources"/CLinux/*.c; do
        object="$work/$(basename "$file").o"
        clang -g -O1 -D_GNU_SOURCE -std=gnu11 -fsanitize=address,fuzzer-no-link \
            -I"$(dirname "$file")/include" "${tirpc[@]/-l*/}" -c "$file" -o "$object"
        options+=("$object")
    done
    options+=(-ltirpc)
fi
for file in "${files[@]}"; do
    sed -E '/^(@testable )?((package|internal|public) )?import (NFSTypes|AgentProtocol|Threads|LocalIOServer)$/d' \
        "$file" >"$work/source/$(basename "$file")"
done
swiftc -g -O -sanitize=fuzzer,address -parse-as-library -swift-version 6 \
    -enable-upcoming-feature InternalImportsByDefault -package-name localio \
    -module-name AgentFuzz -o "$work/fuzz" "$work"/source/*.swift "${options[@]}"
cd "$work"
./fuzz -max_total_time="$seconds" -max_len=70000 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 found "$here/corpus-$target"
rm -rf "$work"
