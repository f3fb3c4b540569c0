#!/bin/sh
# Fuzzes the hand-off's decoders with libFuzzer and Address Sanitizer:
#   Tests/Fuzz/run.sh [seconds]
# The corpus in this directory is the start; what is found new goes to a temporary directory.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sources="$here/../../Sources"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/source" "$work/found"
# The pure files of AgentProtocol and NFSTypes as one module: no C fence is needed for them.
for file in "$sources"/NFSTypes/*.swift "$sources"/AgentProtocol/AgentMessage.swift \
    "$sources"/AgentProtocol/AgentMessage+Coding.swift "$sources"/AgentProtocol/ByteReader.swift \
    "$sources"/AgentProtocol/FrameAssembler.swift "$sources"/AgentProtocol/AgentProtocol.swift \
    "$here"/agent-messages.swift; do
    sed '/^\(package\|internal\|public\) import NFSTypes$/d' "$file" \
        >"$work/source/$(basename "$file")"
done
swiftc -O -sanitize=fuzzer,address -parse-as-library -swift-version 6 -package-name localio \
    -module-name AgentFuzz -o "$work/fuzz" "$work"/source/*.swift
cd "$work"
./fuzz -max_total_time="${1:-600}" -max_len=70000 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 found "$here/corpus"
