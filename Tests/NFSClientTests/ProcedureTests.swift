// Every procedure against a real Ganesha: what it does to the real file, and what it answers.
import Glibc
import NFSClient
import NFSTypes
import Testing

extension AgainstGanesha {
    @Suite(.serialized)
    final class ProcedureTests {
        let ganesha: PrivateGanesha
        let session: NFSSession
        var root: FileHandle { session.root }

        init() throws {
            ganesha = try PrivateGanesha()
            session = try NFSSession.connectBlocking(to: try ganesha.url)
        }

        deinit { session.closeBlocking() }

        func status<Reply>(of call: NFSCall<Reply>, as credentials: Credentials? = nil) throws
            -> NFSStatus?
        {
            do throws(RPCError) {
                _ = try session.performBlocking(call, credentials: credentials)
                return nil
            } catch {
                return error.status
            }
        }

        func create(_ name: String, mode: UInt32 = 0o644) throws -> FileHandle {
            let reply = try session.performBlocking(
                .create(root, NFSName(name), mode: .guarded(SetAttributes(mode: mode))))
            if let handle = reply.handle { return handle }
            return try session.performBlocking(.lookup(root, NFSName(name))).handle
        }

        @Test func mountsAndDescribes() throws {
            #expect(session.serverAddress == "127.0.0.1")
            #expect(session.isConnected)
            #expect(session.info.readLimit >= 65536)
            let attributes = try session.performBlocking(.getAttributes(root))
            #expect(attributes.type == .directory)
            var status = stat()
            #expect(stat(ganesha.exported, &status) == 0)
            #expect(attributes.fileID == status.st_ino)
            try session.performBlocking(.null)
            let space = try session.performBlocking(.fileSystemStatus(root))
            #expect(space.totalBytes > 0 && space.freeBytes <= space.totalBytes)
            let limits = try session.performBlocking(.pathConfiguration(root))
            #expect(limits.nameLimit >= 255)
            #expect(try session.performBlocking(.fileSystemInfo(root)) == session.info)
        }

        @Test func aLinkOfAnyLengthIsMade() async throws {
            let target = String(repeating: "t", count: 4095)
            let limit = NFSSession.shortTargetByteCount
            let longest = NFSName(String(target.prefix(limit)))
            let name = NFSName(String(repeating: "n", count: 255))
            _ = try session.performBlocking(.symbolicLink(root, name, target: longest))
            try await session.makeLongSymbolicLink(root, "long", target: NFSName(target))
            let made = try session.performBlocking(.lookup(root, "long"))
            #expect(made.attributes?.type == .symbolicLink)
            #expect(try session.performBlocking(.readLink(made.handle)).target.text == target)
            let error = await #expect(throws: RPCError.self) {
                try await session.makeLongSymbolicLink(root, "long", target: NFSName(target))
            }
            #expect(error?.status == .exists)
        }

        @Test func exportsAreListed() async throws {
            let entries = try await NFSSession.exports(of: try ganesha.url)
            #expect(entries.map(\.directory) == [ganesha.exported])
            #expect(try NFSSession.exportsBlocking(of: try ganesha.url) == entries)
        }

        @Test func createLookupRemove() throws {
            let handle = try create("file")
            let found = try session.performBlocking(.lookup(root, "file"))
            #expect(found.handle == handle)
            #expect(found.attributes?.type == .regular)
            #expect(found.attributes?.mode == 0o644)
            #expect(try status(of: .lookup(root, "none")) == .noEntry)
            #expect(
                try status(of: .create(root, "file", mode: .guarded(SetAttributes()))) == .exists)
            let again = try session.performBlocking(
                .create(root, "file", mode: .unchecked(SetAttributes(mode: 0o600))))
            #expect(again.handle == handle)
            _ = try session.performBlocking(.remove(root, "file"))
            #expect(access(ganesha.exported + "/file", F_OK) != 0)
            #expect(try status(of: .remove(root, "file")) == .noEntry)
            #expect(try status(of: .getAttributes(handle)) == .stale)
        }

        @Test func exclusiveCreateIsSafeToRepeat() throws {
            let first = try session.performBlocking(
                .create(root, "x", mode: .exclusive(verifier: 0x1122_3344_5566_7788)))
            let second = try session.performBlocking(
                .create(root, "x", mode: .exclusive(verifier: 0x1122_3344_5566_7788)))
            #expect(first.handle == second.handle)
            #expect(try status(of: .create(root, "x", mode: .exclusive(verifier: 1))) == .exists)
        }

        @Test func directories() throws {
            let made = try session.performBlocking(
                .makeDirectory(root, "d", SetAttributes(mode: 0o750)))
            let directory = try #require(made.handle)
            #expect(made.attributes?.mode == 0o750)
            #expect(try status(of: .makeDirectory(root, "d", SetAttributes())) == .exists)
            _ = try session.performBlocking(
                .create(directory, "inside", mode: .guarded(SetAttributes())))
            #expect(try status(of: .removeDirectory(root, "d")) == .directoryNotEmpty)
            #expect(try status(of: .lookup(try create("plain"), "x")) == .notDirectory)
            #expect(try status(of: .removeDirectory(root, "plain")) == .notDirectory)
            _ = try session.performBlocking(.remove(directory, "inside"))
            _ = try session.performBlocking(.removeDirectory(root, "d"))
            #expect(try status(of: .lookup(root, "d")) == .noEntry)
        }

        @Test func listsAllOfALargeDirectory() throws {
            for index in 0..<500 {
                close(open(ganesha.exported + "/f\(index)", O_CREAT | O_WRONLY, 0o644))
            }
            var names: Set<String> = []
            var cookie: UInt64 = 0
            var verifier: UInt64 = 0
            var parts = 0
            while true {
                let part = try session.performBlocking(
                    .readDirectoryPlus(
                        root, cookie: cookie, cookieVerifier: verifier, nameByteCount: 2048,
                        byteCount: 8192))
                parts += 1
                for entry in part.entries {
                    #expect(names.insert(entry.name.description).inserted)
                    cookie = entry.cookie
                    if entry.name.description.hasPrefix("f") {
                        #expect(entry.attributes?.type == .regular)
                        #expect(entry.handle != nil)
                    }
                }
                verifier = part.cookieVerifier
                if part.isComplete || part.entries.isEmpty { break }
            }
            #expect(parts > 1)
            #expect(names.subtracting([".", ".."]).count == 500)
        }

        @Test func linksAndNodes() throws {
            _ = try session.performBlocking(.symbolicLink(root, "s", target: "some/where"))
            let link = try session.performBlocking(.lookup(root, "s")).handle
            #expect(try session.performBlocking(.readLink(link)).target == "some/where")
            let file = try create("file")
            let linked = try session.performBlocking(.link(file, to: root, "second"))
            #expect(try session.performBlocking(.getAttributes(file)).linkCount == 2)
            #expect(linked.directoryAttributes?.type == .directory)
            #expect(try status(of: .readLink(file)) == .invalid)
            _ = try session.performBlocking(
                .makeNode(root, "p", .fifo, SetAttributes(mode: 0o600)))
            #expect(try session.performBlocking(.lookup(root, "p")).attributes?.type == .fifo)
            _ = try session.performBlocking(
                .makeNode(root, "c", .characterDevice(major: 1, minor: 3),
                    SetAttributes(mode: 0o600)))
            let device = try session.performBlocking(.lookup(root, "c")).attributes
            #expect(device?.type == .characterDevice)
            #expect(device?.deviceMajor == 1 && device?.deviceMinor == 3)
        }

        @Test func renameReplaces() throws {
            let first = try create("a")
            _ = try create("b")
            _ = try session.performBlocking(.rename(from: root, "a", to: root, "b"))
            #expect(try session.performBlocking(.lookup(root, "b")).handle == first)
            #expect(try status(of: .lookup(root, "a")) == .noEntry)
            #expect(try status(of: .rename(from: root, "a", to: root, "c")) == .noEntry)
        }

        @Test func attributesAndGuard() throws {
            let file = try create("file")
            let time = FileTime(seconds: 1_000_000, nanoseconds: 5000)
            _ = try session.performBlocking(
                .setAttributes(
                    file,
                    SetAttributes(
                        mode: 0o711, uid: 12, gid: 34, size: 5000, accessTime: .clientTime(time),
                        modifyTime: .clientTime(time))))
            let now = try session.performBlocking(.getAttributes(file))
            #expect(now.mode == 0o711 && now.uid == 12 && now.gid == 34 && now.size == 5000)
            #expect(now.accessTime == time && now.modifyTime == time)
            let stale = FileTime(seconds: 1, nanoseconds: 0)
            #expect(
                try status(of: .setAttributes(file, SetAttributes(size: 1), guardChangeTime: stale))
                    == .notSynchronized)
            _ = try session.performBlocking(
                .setAttributes(
                    file, SetAttributes(size: 7, modifyTime: .serverTime),
                    guardChangeTime: now.changeTime))
            #expect(try session.performBlocking(.getAttributes(file)).size == 7)
        }

        @Test func credentialsDecide() throws {
            let file = try create("secret", mode: 0o600)
            let stranger = Credentials(uid: 1000, gid: 1000)
            #expect(
                try status(of: .setAttributes(file, SetAttributes(size: 0)), as: stranger) != nil)
            let granted = try session.performBlocking(
                .access(file, [.read, .modify, .extend]), credentials: stranger)
            #expect(granted.granted == [])
            let mine = try session.performBlocking(.access(file, [.read, .modify, .extend]))
            #expect(mine.granted == [.read, .modify, .extend])
            #expect(mine.attributes?.mode == 0o600)
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 16)
            defer { buffer.deallocate() }
            let error = #expect(throws: RPCError.self) {
                try session.readBlocking(file, offset: 0, into: buffer, credentials: stranger)
            }
            #expect(error?.status == .accessDenied)
            #expect(error?.errno == EACCES)
            let shared = try create("shared", mode: 0o660)
            _ = try session.performBlocking(.setAttributes(shared, SetAttributes(gid: 77)))
            let member = Credentials(uid: 1000, gid: 1000, groups: [5, 77])
            let rights = try session.performBlocking(.access(shared, .read), credentials: member)
            #expect(rights.granted == .read)
        }

        @Test func impossibleNames() throws {
            let long = String(repeating: "n", count: 256)
            #expect(try status(of: .lookup(root, NFSName(long))) == .nameTooLong)
            let longest = NFSName(String(repeating: "n", count: 255))
            #expect(try status(of: .lookup(root, longest)) == .noEntry)
            #expect(try status(of: .lookup(root, "a\0b")) == .invalid)
            #expect(try status(of: .remove(root, "")) != nil)
            #expect(try status(of: .create(root, "a/b", mode: .guarded(SetAttributes()))) != nil)
        }

        @Test func asynchronousFormAndErrors() async throws {
            let session = session
            let attributes = try await session.perform(.getAttributes(session.root))
            #expect(attributes.type == .directory)
            let text = RPCError(.status(.stale), server: "h:1", procedure: "READ").description
            #expect(text == "READ at h:1: the server answered NFS3ERR_STALE")
        }

        @Test func aWrongProgramIsNamed() throws {
            var url = try ganesha.url
            url.nfsPort = try ganesha.mountPort
            url.mountPort = try ganesha.nfsPort
            let error = #expect(throws: RPCError.self) {
                try NFSSession.connectBlocking(to: url)
            }
            guard case .protocolError(let text) = error?.cause else {
            Issue.record("not a protocol error: \(String(describing: error))")
            return
        }
        #expect(text.contains("not available"))
        }

        @Test func refusedMount() throws {
            var url = try ganesha.url
            url.exportPath = "/nowhere"
            let error = #expect(throws: RPCError.self) { try NFSSession.connectBlocking(to: url) }
            let causes: [RPCError.Cause] = [.mountRefused(.noEntry), .mountRefused(.accessDenied)]
            #expect(error.map { causes.contains($0.cause) } == true)
            let mountPort = try ganesha.mountPort
            #expect(error?.description.contains("127.0.0.1:\(mountPort)") == true)
        }
    }
}
