// The small values that travel between all rooms.
import NFSTypes
import Testing

@Suite struct FileHandleTests {
    @Test func everyLengthFrom0To64Survives() throws {
        for count in 0...64 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ count) }
            let handle = try #require(FileHandle(bytes))
            #expect(handle.byteCount == count)
            #expect(handle.bytes == bytes)
            var copy = [UInt8](repeating: 0xEE, count: count + 1)
            copy.withUnsafeMutableBytes { handle.copyBytes(to: $0) }
            #expect(Array(copy.dropLast()) == bytes)
            #expect(copy.last == 0xEE)
        }
    }

    @Test func sixtyFiveBytesAreRefused() {
        #expect(FileHandle([UInt8](repeating: 1, count: 65)) == nil)
    }

    @Test func everyByteAndTheLengthMatter() throws {
        let base = [UInt8](repeating: 7, count: 64)
        let handle = try #require(FileHandle(base))
        #expect(FileHandle(base) == handle)
        #expect(FileHandle(base)?.hashValue == handle.hashValue)
        for index in 0..<64 {
            var changed = base
            changed[index] ^= 0x80
            let other = try #require(FileHandle(changed))
            #expect(other != handle)
            #expect(Set([handle, other]).count == 2)
        }
        // A trailing zero byte is not the same as no byte.
        #expect(FileHandle([1, 2]) != FileHandle([1, 2, 0]))
        #expect(Set([FileHandle([0]), FileHandle([0, 0]), FileHandle([])]).count == 3)
    }

    @Test func itReadsAsHexadecimal() {
        #expect(FileHandle([0x00, 0x0a, 0xff])?.description == "000aff")
        #expect(FileHandle([])?.description == "")
    }
}

@Suite struct SmallValueTests {
    @Test func stabilityIsOrdered() {
        #expect(StableHow.allCases.map(\.rawValue) == [0, 1, 2])
        #expect(StableHow.unstable < .dataSync && StableHow.dataSync < .fileSync)
    }

    @Test func verifiersCompareAsAWhole() {
        #expect(WriteVerifier(rawValue: 1) != WriteVerifier(rawValue: 1 << 63))
        #expect(WriteVerifier(rawValue: 0xdead_beef).description == "0xdeadbeef")
    }

    @Test func timesCompareBySecondsFirst() {
        let early = FileTime(seconds: 1, nanoseconds: 999_999_999)
        let late = FileTime(seconds: 2, nanoseconds: 0)
        #expect(early < late && !(late < early) && !(early < early))
    }

    @Test func fileTypesHaveTheNumbersOfTheRFC() {
        #expect(FileType.allCases.map(\.rawValue) == [1, 2, 3, 4, 5, 6, 7])
        #expect(FileType(rawValue: 0) == nil && FileType(rawValue: 8) == nil)
    }

    @Test func accessRightsHaveTheBitsOfTheRFC() {
        let all: AccessRights = [.read, .lookup, .modify, .extend, .delete, .execute]
        #expect(all.rawValue == 0x3f)
        #expect(AccessRights.modify.rawValue == 4)
    }

    @Test func nothingIsSetUnlessAsked() {
        let none = SetAttributes()
        #expect(none.mode == nil && none.size == nil && none.modifyTime == nil)
        #expect(none == SetAttributes() && none != SetAttributes(size: 0))
    }
}
