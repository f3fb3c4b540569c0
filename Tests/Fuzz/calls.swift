// The target of libFuzzer: the LOCALIO program's service side on any bytes. Built by run.sh.
nonisolated(unsafe) private let feed = CallFeed()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCalls(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let outcome = feed?.feed(Array(UnsafeBufferPointer(start: bytes, count: count)))
    precondition(outcome != nil && outcome?.complaint == nil, outcome?.complaint ?? "no memory")
    return 0
}
