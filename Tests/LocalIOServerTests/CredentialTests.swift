// Whose rights count: AUTH_SYS ids at a server of root, the server's own user otherwise.
import Foundation
import Glibc
import NFSTypes
import Testing

@testable import LocalIOServer

@Suite(.enabled(if: Tool.isRoot, "needs root: the server must change its threads' ids"))
struct CredentialTests {
    let directory: TemporaryDirectory
    let served: Served
    let client: RawClient
    let root: [UInt8]

    init() throws {
        directory = try TemporaryDirectory()
        served = try Served(directory.path)
        client = try RawClient(port: served.port)
        root = try client.mount(directory.path).handle
        #expect(try client.setAttributes(root, mode: 0o777) == .ok)
    }

    @Test func othersAreDenied() throws {
        let file = try client.create(root, "private", mode: 0o600).handle
        _ = try client.write(file, at: 0, [1, 2, 3])
        let folder = try client.makeDirectory(root, "folder").handle
        #expect(try client.setAttributes(folder, mode: 0o700) == .ok)
        _ = try client.create(folder, "inside")
        client.uid = 1234
        client.gid = 1234
        #expect(try client.read(file, at: 0, 3).status == .accessDenied)
        #expect(try client.write(file, at: 0, [9]).status == .accessDenied)
        #expect(try client.commit(file).status == .accessDenied)
        #expect(try client.setAttributes(file, size: 0) == .accessDenied)
        #expect(try client.setAttributes(file, mode: 0o777) == .notOwner)
        #expect(try client.lookUp(folder, "inside").status == .accessDenied)
        #expect(try client.create(folder, "mine").status == .accessDenied)
        #expect(try client.access(file, [.read, .modify, .extend, .execute]) == [])
        #expect(try client.access(folder, [.read, .lookup, .modify, .delete]) == [])
        client.uid = 0
        client.gid = 0
        #expect(try client.read(file, at: 0, 3).bytes == [1, 2, 3])
        #expect(try client.access(file, [.read, .modify, .execute]) == [.read, .modify])
    }

    @Test func groupsCountAndFilesBelongToTheirMaker() throws {
        let file = try client.create(root, "shared", mode: 0o640).handle
        #expect(chown(directory.file("shared"), 0, 4321) == 0)
        client.uid = 1234
        client.gid = 1234
        #expect(try client.read(file, at: 0, 1).status == .accessDenied)
        client.groups = [77, 4321]
        #expect(try client.read(file, at: 0, 1).status == .ok)
        #expect(try client.access(file, [.read, .modify]) == [.read])
        #expect(try client.write(file, at: 0, [1]).status == .accessDenied)
        let mine = try client.create(root, "mine").handle
        let attributes = try #require(client.attributes(mine).attributes)
        #expect(attributes.uid == 1234 && attributes.gid == 1234 && attributes.mode == 0o644)
        #expect(try client.setAttributes(mine, uid: 0) == .notOwner)
    }

    @Test func theMakerWritesToAFileOfModeZero() throws {
        client.uid = 1234
        client.gid = 1234
        let file = try client.create(root, "locked", mode: 0).handle
        #expect(try client.write(file, at: 0, [1, 2, 3]).status == .ok)
        #expect(try client.read(file, at: 0, 3).bytes == [1, 2, 3])
        client.uid = 1235
        #expect(try client.read(file, at: 0, 3).status == .accessDenied)
    }

    @Test func theStickyBitHolds() throws {
        #expect(try client.setAttributes(root, mode: 0o1777) == .ok)
        client.uid = 1234
        _ = try client.create(root, "kept")
        client.uid = 1235
        #expect(try client.remove(root, "kept") == .notOwner)
        client.uid = 1234
        #expect(try client.remove(root, "kept") == .ok)
    }
}
