// The library as its users write it: spans, file paths, owned buffers, async.
import LocalIO
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized) struct InterfaceTests {
    @Test func spansAndFilePaths() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic)
        let path = FilePath("spans")
        let file = try client.openBlocking(path, .readWrite, options: [.create])
        let written: [UInt8] = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
        #expect(try file.writeBlocking(written.span.bytes, at: 3) == 5000)
        var read = [UInt8](repeating: 0, count: 6000)
        var span = read.mutableSpan
        var bytes = span.mutableBytes
        let count = try file.readBlocking(into: &bytes, at: 3)
        #expect(count == 5000)
        #expect(Array(read[..<count]) == written)
        #expect(try file.attributesBlocking().size == 5003)
    }

    @Test func ownedBuffersGoAndComeBack() async throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic)
        let file = try await client.open("owned", .readWrite, options: [.create, .exclusive])
        guard var buffer = AlignedBuffer(byteCount: 8192) else { throw OutOfMemory() }
        buffer.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 9) }
        let write = try await file.write(from: buffer, at: 0, stable: .fileSync)
        #expect(write.byteCount == 8192)
        let read = try await file.read(into: write.takeBuffer(), at: 4096)
        #expect(read.byteCount == 4096)
        let nothing = try await file.read(into: read.takeBuffer(), at: 1 << 40)
        #expect(nothing.byteCount == 0)
        try await file.commit()
        try await file.truncate(to: 10)
        #expect(try await file.attributes().size == 10)
        try await file.close()
        let error = await #expect(throws: LocalIOError.self) { try await file.commit() }
        #expect(error?.code == .closed)
        await #expect(throws: LocalIOError.self) {
            _ = try await client.open("owned", .readWrite, options: [.create, .exclusive])
        }
        #expect(client.statistics().fallbacks.isEmpty)
    }

    @Test func wrongUseIsNamed() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic)
        let file = try client.openBlocking("wrong", .readOnly, options: [.create])
        let bytes: [UInt8] = [1]
        let error = #expect(throws: LocalIOError.self) {
            try file.writeBlocking(bytes.span.bytes, at: 0)
        }
        #expect(error?.code == .usage)
        #expect(error?.message.contains("read-only") == true)
        #expect(throws: LocalIOError.self) { try file.truncateBlocking(to: 0) }
        #expect(throws: LocalIOError.self) { _ = try IOChannel(client: client, depth: 0) }
        client.closeBlocking()
        #expect(throws: LocalIOError.self) { try client.openBlocking("wrong") }
    }
}
