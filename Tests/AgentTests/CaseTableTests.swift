// The table of cases: what RPC lets a user do is what the agent hands out, row by row.
import AgentProtocol
import Foundation
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import Testing

@testable import LocalIOAgent

@Suite(.serialized, .enabled(if: ganesha.isMet)) struct CaseTableTests {
    static let files: [(name: String, uid: UInt32, gid: UInt32, mode: mode_t)] = [
        ("private", 1000, 1000, 0o600), ("readable", 1000, 1000, 0o644),
        ("group", 1000, 2000, 0o660), ("group-read", 1000, 2000, 0o640),
        ("root-only", 0, 0, 0o600), ("everyone", 0, 0, 0o666), ("acl", 1000, 1000, 0o644),
        ("other-group", 1000, 3000, 0o060),
    ]

    static let users: [Credentials] = [
        Credentials(uid: 0, gid: 0), Credentials(uid: 1000, gid: 1000),
        Credentials(uid: 1001, gid: 1001), Credentials(uid: 1001, gid: 2000),
        Credentials(uid: 1001, gid: 1001, groups: [2000]),
        Credentials(uid: 1002, gid: 1002, groups: [5, 6, 3000]),
        Credentials(uid: 65534, gid: 65534),
    ]

    static func fill(_ directory: String) throws {
        for file in files {
            let path = directory + "/" + file.name
            try AgentFixture.write("some text", to: path)
            chown(path, file.uid, file.gid)
            chmod(path, file.mode)
        }
        if ChildProcess.find("setfacl") != nil {
            try ChildProcess.mustRun(
                ChildProcess.find("setfacl") ?? "", ["-m", "u:1001:---", directory + "/acl"])
        }
        chmod(directory, 0o755)
    }

    /// What the calls themselves answer: ACCESS for each right, and a READ and a WRITE done.
    static func rpc(
        _ session: NFSSession, _ handle: FileHandle, _ access: AgentAccess, _ user: Credentials
    ) -> Bool {
        let rights: AccessRights =
            access == .read ? .read : access == .write ? [.modify, .extend]
            : [.read, .modify, .extend]
        let reply = try? session.performBlocking(.access(handle, rights), credentials: user)
        guard let reply, reply.granted.isSuperset(of: rights) else { return false }
        if access.reads {
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 4, alignment: 8)
            defer { room.deallocate() }
            let read = try? session.readBlocking(
                handle, offset: 0, into: room, credentials: user)
            if read == nil { return false }
        }
        guard access.writes else { return true }
        let written = [UInt8(ascii: "s")].withUnsafeBytes { bytes in
            try? session.writeBlocking(
                handle, offset: 0, from: bytes, stable: .fileSync, credentials: user)
        }
        return written != nil
    }

    static func compare(_ options: ExportOptions) throws {
        let fixture = try AgentFixture(.ganesha, options: options, fill: fill)
        defer { fixture.stop() }
        var (rows, granted) = (0, 0)
        for user in users {
            let client = try fixture.client(as: user)
            for file in files {
                for access in AgentAccess.allCases {
                    let request = try fixture.request(file.name, access)
                    let expected = rpc(fixture.session, request.handle, access, user)
                    let refusal = try client.outcome(request)
                    let agent = refusal?.name ?? "opened"
                    #expect(
                        (refusal == nil) == expected,
                        "\(file.name) \(access) by \(user): RPC \(expected), agent \(agent)")
                    rows += 1
                    granted += refusal == nil ? 1 : 0
                }
            }
        }
        print("\(options): \(rows) rows agree, \(granted) granted")
        #expect(rows == users.count * files.count * AgentAccess.allCases.count)
        #expect(granted > 0 && granted < rows)
    }

    @Test func noSquash() throws { try Self.compare(ExportOptions(attributeSeconds: 0)) }

    @Test func rootSquash() throws {
        try Self.compare(ExportOptions(squash: .root, attributeSeconds: 0))
    }

    @Test func allSquash() throws {
        try Self.compare(ExportOptions(squash: .all, attributeSeconds: 0))
    }

    @Test func readOnly() throws {
        try Self.compare(ExportOptions(readOnly: true, attributeSeconds: 0))
    }
}
