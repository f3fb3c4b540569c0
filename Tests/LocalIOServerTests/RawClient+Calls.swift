// The calls that the tests make, in terms of names and bytes.
import NFSTypes

extension RawClient {
    func mount(_ path: String) throws -> (status: NFSStatus, handle: [UInt8]) {
        var arguments = Encoder()
        arguments.string(path)
        var results = try call(100005, 3, 1, arguments.bytes)
        let status = results.status()
        return (status, status == .ok ? results.opaque() : [])
    }

    func attributes(_ handle: [UInt8]) throws -> (status: NFSStatus, attributes: FileAttributes?) {
        var results = try nfs(1) { $0.opaque(handle) }
        let status = results.status()
        return (status, status == .ok ? results.attributes() : nil)
    }

    func lookUp(
        _ directory: [UInt8], _ name: String
    ) throws -> (status: NFSStatus, handle: [UInt8]) {
        var results = try nfs(3) {
            $0.opaque(directory)
            $0.string(name)
        }
        let status = results.status()
        return (status, status == .ok ? results.opaque() : [])
    }

    /// LOOKUP along a path of names.
    func find(_ root: [UInt8], _ names: String...) throws -> [UInt8] {
        try names.reduce(root) { handle, name in
            let (status, found) = try lookUp(handle, name)
            guard status == .ok else { throw ToolFailure("LOOKUP \(name): \(status)") }
            return found
        }
    }

    /// CREATE, guarded.
    func create(
        _ directory: [UInt8], _ name: String, mode: UInt32 = 0o644
    ) throws -> (status: NFSStatus, handle: [UInt8]) {
        var results = try nfs(8) {
            $0.opaque(directory)
            $0.string(name)
            $0.u32(1)
            $0.attributes(mode: mode)
        }
        return Self.made(&results)
    }

    func createExclusively(
        _ directory: [UInt8], _ name: String, verifier: UInt64
    ) throws -> (status: NFSStatus, handle: [UInt8]) {
        var results = try nfs(8) {
            $0.opaque(directory)
            $0.string(name)
            $0.u32(2)
            $0.u64(verifier)
        }
        return Self.made(&results)
    }

    func makeDirectory(
        _ directory: [UInt8], _ name: String
    ) throws -> (status: NFSStatus, handle: [UInt8]) {
        var results = try nfs(9) {
            $0.opaque(directory)
            $0.string(name)
            $0.attributes(mode: 0o755)
        }
        return Self.made(&results)
    }

    func makeSymbolicLink(
        _ directory: [UInt8], _ name: String, to path: String
    ) throws -> NFSStatus {
        var results = try nfs(10) {
            $0.opaque(directory)
            $0.string(name)
            $0.attributes()
            $0.string(path)
        }
        return Self.made(&results).status
    }

    private static func made(_ results: inout Decoder) -> (status: NFSStatus, handle: [UInt8]) {
        let status = results.status()
        guard status == .ok, results.u32() == 1 else { return (status, []) }
        return (status, results.opaque())
    }

    func remove(
        _ directory: [UInt8], _ name: String, isDirectory: Bool = false
    ) throws -> NFSStatus {
        var results = try nfs(isDirectory ? 13 : 12) {
            $0.opaque(directory)
            $0.string(name)
        }
        return results.status()
    }

    func rename(
        _ source: [UInt8], _ from: String, _ target: [UInt8], _ to: String
    ) throws -> NFSStatus {
        var results = try nfs(14) {
            $0.opaque(source)
            $0.string(from)
            $0.opaque(target)
            $0.string(to)
        }
        return results.status()
    }

    func read(
        _ handle: [UInt8], at offset: UInt64, _ count: Int
    ) throws -> (status: NFSStatus, bytes: [UInt8], isEnd: Bool) {
        var results = try nfs(6) {
            $0.opaque(handle)
            $0.u64(offset)
            $0.u32(UInt32(count))
        }
        let status = results.status()
        _ = results.optionalAttributes()
        guard status == .ok else { return (status, [], false) }
        _ = results.u32()
        let isEnd = results.u32() == 1
        return (status, results.opaque(), isEnd)
    }

    func write(
        _ handle: [UInt8], at offset: UInt64, _ bytes: [UInt8], _ stable: StableHow = .unstable
    ) throws -> (status: NFSStatus, count: Int, committed: UInt32, verifier: UInt64) {
        var results = try nfs(7) {
            $0.opaque(handle)
            $0.u64(offset)
            $0.u32(UInt32(bytes.count))
            $0.u32(stable.rawValue)
            $0.opaque(bytes)
        }
        let status = results.status()
        _ = results.weakCache()
        guard status == .ok else { return (status, 0, 0, 0) }
        return (status, Int(results.u32()), results.u32(), results.u64())
    }

    func commit(_ handle: [UInt8]) throws -> (status: NFSStatus, verifier: UInt64) {
        var results = try nfs(21) {
            $0.opaque(handle)
            $0.u64(0)
            $0.u32(0)
        }
        let status = results.status()
        _ = results.weakCache()
        return (status, status == .ok ? results.u64() : 0)
    }

    func setAttributes(
        _ handle: [UInt8], size: UInt64? = nil, mode: UInt32? = nil, uid: UInt32? = nil,
        modified: FileTime? = nil, guardTime: FileTime? = nil
    ) throws -> NFSStatus {
        var results = try nfs(2) {
            $0.opaque(handle)
            $0.attributes(mode: mode, uid: uid, size: size, modified: modified)
            $0.u32(guardTime == nil ? 0 : 1)
            if let guardTime {
                $0.u32(guardTime.seconds)
                $0.u32(guardTime.nanoseconds)
            }
        }
        return results.status()
    }

    func access(_ handle: [UInt8], _ rights: AccessRights) throws -> AccessRights {
        var results = try nfs(4) {
            $0.opaque(handle)
            $0.u32(rights.rawValue)
        }
        guard results.status() == .ok else { return [] }
        _ = results.optionalAttributes()
        return AccessRights(rawValue: results.u32())
    }

    /// One name of a listing.
    struct Listed {
        var name: String
        var attributes: FileAttributes?
        var handle: [UInt8]
    }

    /// A whole directory by READDIR or READDIRPLUS, with replies of `byteCount` bytes.
    func list(_ directory: [UInt8], plus: Bool, byteCount: Int) throws -> [Listed] {
        var entries: [Listed] = []
        var (cookie, verifier) = (UInt64(0), UInt64(0))
        while true {
            var results = try nfs(plus ? 17 : 16) {
                $0.opaque(directory)
                $0.u64(cookie)
                $0.u64(verifier)
                if plus { $0.u32(UInt32(byteCount)) }
                $0.u32(UInt32(byteCount))
            }
            let status = results.status()
            _ = results.optionalAttributes()
            guard status == .ok else { throw ToolFailure("READDIR: \(status)") }
            guard results.bytes.count <= byteCount else { throw ToolFailure("reply too long") }
            verifier = results.u64()
            while results.u32() == 1 {
                _ = results.u64()
                let name = String(decoding: results.opaque(), as: UTF8.self)
                cookie = results.u64()
                var entry = Listed(name: name, handle: [])
                if plus {
                    entry.attributes = results.optionalAttributes()
                    if results.u32() == 1 { entry.handle = results.opaque() }
                }
                if name != ".", name != ".." { entries.append(entry) }
            }
            if results.isShort { throw ToolFailure("READDIR: a short reply") }
            if results.u32() == 1 { return entries }
        }
    }
}
