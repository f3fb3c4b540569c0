// What an NFS URL may look like, and what the error says about one that may not.
import NFSClient
import Testing

struct NFSURLTests {
    @Test(arguments: [
        ("nfs://host/export", "host", "/export", nil, nil),
        ("nfs://host/", "host", "/", nil, nil),
        ("nfs://host:1234/a/b", "host", "/a/b", 1234, 1234),
        ("nfs://host/a?version=3", "host", "/a", nil, nil),
        ("nfs://host/a?nfsport=5&mountport=6", "host", "/a", 5, 6),
        ("nfs://host:7/a?mountport=6", "host", "/a", 7, 6),
        ("nfs://[::1]:7/a", "::1", "/a", 7, 7),
        ("nfs://[fe80::1]/a%20b%25", "fe80::1", "/a b%", nil, nil),
        ("nfs://h/%C3%A4?dircache=0&readahead=1&auto-traverse-mounts=0", "h", "/ä", nil, nil),
    ] as [(String, String, String, UInt16?, UInt16?)])
    func good(text: String, host: String, path: String, nfs: UInt16?, mount: UInt16?) throws {
        let url = try NFSURL(text)
        #expect(url.host == host)
        #expect(url.exportPath == path)
        #expect(url.nfsPort == nfs)
        #expect(url.mountPort == mount)
        #expect(try NFSURL(url.description) == url)
    }

    @Test func options() throws {
        let text = "nfs://h/e?uid=10&gid=20&timeo=15&retrans=2"
        let url = try NFSURL(text)
        #expect(url.uid == 10)
        #expect(url.gid == 20)
        #expect(url.timeoutTenths == 15)
        #expect(url.retransmissions == 2)
        #expect(url.description == text)
    }

    @Test(arguments: [
        ("http://host/a", "nfs://host/export"),
        ("nfs://host", "names no export"),
        ("nfs:///a", "names no host"),
        ("nfs://host:0/a", "1 to 65535"),
        ("nfs://host:70000/a", "'70000'"),
        ("nfs://host:+7/a", "'+7'"),
        ("nfs://host:/a", "not a port"),
        ("nfs://[::1/a", "']'"),
        ("nfs://[::1]7/a", "'7'"),
        ("nfs://host/a?version=4", "only version=3"),
        ("nfs://host/a?version", "only version=3"),
        ("nfs://host/a?nfsport=x", "nfsport 'x'"),
        ("nfs://host/a?colour=red", "unknown option 'colour'"),
        ("nfs://host/a?uid=-1", "uid='-1'"),
        ("nfs://host/a?timeo=0", "timeo=0"),
        ("nfs://host/%zz", "'%zz'"),
        ("nfs://host/%0", "'%0'"),
        ("nfs://host/%00", "'%00'"),
        ("nfs://host/%FF", "not UTF-8"),
    ])
    func bad(text: String, named: String) throws {
        let error = try #require(throws: NFSURLError.self) { try NFSURL(text) }
        #expect(error.description.contains(named), "\(error)")
        #expect(!error.description.contains("\n"))
    }
}
