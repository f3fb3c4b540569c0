// The address of an export in libnfs's own form: nfs://host[:port]/path[?option=value&...].

/// Why a text is not an NFS URL.
public struct NFSURLError: Error, Hashable, Sendable, CustomStringConvertible {
    /// One line that names what is wrong and what would be right.
    public let description: String
}

/// `nfs://host[:port]/export/path?version=3&nfsport=P&mountport=M&…`
///
/// A bare `:port` serves NFS and MOUNT both. Options: `version` (only 3), `nfsport`, `mountport`,
/// `uid`, `gid`, `timeo` (tenths of a second, as in nfs(5)), `retrans`. Of libnfs's own options
/// those that have no meaning here are accepted: `readahead`, `dircache`, `debug`,
/// `auto-traverse-mounts`, `tcp-syncnt`, `autoreconnect`, `if`.
public struct NFSURL: Hashable, Sendable {
    public var host: String
    /// The exported directory, starting with `/`.
    public var exportPath: String
    /// Nil: ask the host's portmapper, and use 2049 if it does not know.
    public var nfsPort: UInt16?
    /// Nil: ask the host's portmapper.
    public var mountPort: UInt16?
    public var uid: UInt32?
    public var gid: UInt32?
    /// Tenths of a second (`timeo=`).
    public var timeoutTenths: UInt32?
    /// `retrans=`: makes the mount soft with this many retries.
    public var retransmissions: UInt32?

    public init(
        host: String, exportPath: String, nfsPort: UInt16? = nil, mountPort: UInt16? = nil
    ) {
        self.host = host
        self.exportPath = exportPath
        self.nfsPort = nfsPort
        self.mountPort = mountPort
    }

    /// Parses `text`; the error names the part that is wrong.
    public init(_ text: String) throws(NFSURLError) {
        guard text.hasPrefix("nfs://") else {
            throw NFSURLError(
                description: "'\(text)' is not an NFS URL: it must look like nfs://host/export")
        }
        let rest = text.dropFirst("nfs://".count)
        let (address, query) = Self.split(rest, at: "?")
        guard let slash = address.firstIndex(of: "/") else {
            throw NFSURLError(
                description: "'\(text)' names no export: write nfs://host/export, "
                    + "or nfs://host/ for the server's root")
        }
        let (host, port) = try Self.parseAuthority(address[..<slash], in: text)
        self.init(host: host, exportPath: try Self.decode(address[slash...], in: text))
        nfsPort = port
        mountPort = port
        guard let query else { return }
        for option in query.split(separator: "&", omittingEmptySubsequences: true) {
            try apply(option: option)
        }
    }

    private static func split(
        _ text: Substring, at separator: Character
    ) -> (Substring, Substring?) {
        guard let index = text.firstIndex(of: separator) else { return (text, nil) }
        return (text[..<index], text[text.index(after: index)...])
    }

    private static func parseAuthority(
        _ authority: Substring, in text: String
    ) throws(NFSURLError) -> (host: String, port: UInt16?) {
        var host = authority
        var portText: Substring?
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else {
                throw NFSURLError(description: "'\(text)': the address after '[' lacks its ']'")
            }
            host = authority[authority.index(after: authority.startIndex)..<end]
            let after = authority[authority.index(after: end)...]
            guard after.isEmpty || after.first == ":" else {
                throw NFSURLError(
                    description: "'\(text)': after ']' comes '\(after)', but only :port may")
            }
            portText = after.isEmpty ? nil : after.dropFirst()
        } else {
            (host, portText) = split(authority, at: ":")
        }
        guard !host.isEmpty else {
            throw NFSURLError(description: "'\(text)' names no host: write nfs://host/export")
        }
        guard let portText else { return (String(host), nil) }
        return (String(host), try parsePort(portText, option: "port"))
    }

    private static func parsePort(
        _ text: Substring, option: String
    ) throws(NFSURLError) -> UInt16 {
        guard let port = UInt16(text), port > 0, text.first?.isNumber == true else {
            throw NFSURLError(
                description: "\(option) '\(text)' is not a port: use a number from 1 to 65535")
        }
        return port
    }

    private static func decode(
        _ text: Substring, in url: String
    ) throws(NFSURLError) -> String {
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, let value = UInt8(digits, radix: 16), value != 0 else {
                throw NFSURLError(
                    description: "'\(url)': '%\(digits)' is not an escape such as %20")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        guard let path = String(validating: bytes, as: UTF8.self) else {
            throw NFSURLError(description: "'\(url)': the export's path is not UTF-8")
        }
        return path
    }

    private mutating func apply(option: Substring) throws(NFSURLError) {
        let (name, optionalValue) = Self.split(option, at: "=")
        let value = optionalValue ?? ""
        switch name {
        case "version":
            guard value == "3" else {
                throw NFSURLError(
                    description: "version=\(value) is not supported: only version=3 is")
            }
        case "nfsport": nfsPort = try Self.parsePort(value, option: "nfsport")
        case "mountport": mountPort = try Self.parsePort(value, option: "mountport")
        case "uid": uid = try Self.parseNumber(value, option: "uid")
        case "gid": gid = try Self.parseNumber(value, option: "gid")
        case "timeo":
            let tenths = try Self.parseNumber(value, option: "timeo")
            guard tenths > 0 else {
                throw NFSURLError(
                    description: "timeo=0 would never wait: use tenths of a second, from 1")
            }
            timeoutTenths = tenths
        case "retrans": retransmissions = try Self.parseNumber(value, option: "retrans")
        case "readahead", "dircache", "debug", "auto-traverse-mounts", "tcp-syncnt",
            "autoreconnect", "if":
            break
        default:
            throw NFSURLError(
                description: "unknown option '\(name)': known are version, nfsport, mountport, "
                    + "uid, gid, timeo and retrans")
        }
    }

    private static func parseNumber(
        _ text: Substring, option: String
    ) throws(NFSURLError) -> UInt32 {
        guard let number = UInt32(text), text.first?.isNumber == true else {
            throw NFSURLError(
                description: "\(option)='\(text)' is not a number from 0 to \(UInt32.max)")
        }
        return number
    }
}

extension NFSURL: CustomStringConvertible {
    /// The URL again; parsing it gives an equal value.
    public var description: String {
        let bracketed = host.contains(":") ? "[\(host)]" : host
        var options: [String] = []
        var authority = bracketed
        if let port = nfsPort, port == mountPort {
            authority += ":\(port)"
        } else {
            if let nfsPort { options.append("nfsport=\(nfsPort)") }
            if let mountPort { options.append("mountport=\(mountPort)") }
        }
        if let uid { options.append("uid=\(uid)") }
        if let gid { options.append("gid=\(gid)") }
        if let timeoutTenths { options.append("timeo=\(timeoutTenths)") }
        if let retransmissions { options.append("retrans=\(retransmissions)") }
        let query = options.isEmpty ? "" : "?" + options.joined(separator: "&")
        return "nfs://" + authority + Self.encode(exportPath) + query
    }

    private static func encode(_ path: String) -> String {
        var text = ""
        for byte in path.utf8 {
            let scalar = Unicode.Scalar(byte)
            let isPlain =
                scalar.properties.isAlphabetic && byte < 128
                || (byte >= 0x30 && byte <= 0x39) || "/-._~+,:@=!$'()*;".utf8.contains(byte)
            if isPlain {
                text.unicodeScalars.append(scalar)
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                text += "%" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return text
    }
}
