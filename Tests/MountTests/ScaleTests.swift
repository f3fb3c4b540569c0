// Large directories, many open files, exact lookup counts.
import CLinux
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct ScaleTests {
    @Test func aDirectoryOf100000Entries() throws {
        let site = try MountSite(.embedded)
        let inside = site.exported + "/many"
        mkdir(inside, 0o755)
        let directory = open(inside, O_RDONLY)
        for index in 0..<100_000 {
            mknodat(directory, "entry-\(index)", S_IFREG | 0o644, 0)
        }
        close(directory)
        let mount = try site.mount()
        let listing = try #require(opendir(mount.point + "/many"))
        defer { closedir(listing) }
        var names: Set<String> = []
        var position = 0
        var middle = ""
        while let entry = readdir(listing) {
            names.insert(Self.name(entry))
            if names.count == 50_000 { position = telldir(listing) }
            if names.count == 50_001 { middle = Self.name(entry) }
        }
        #expect(names.count == 100_002)
        seekdir(listing, position)
        #expect(readdir(listing).map(Self.name) == middle)
    }

    private static func name(_ entry: UnsafeMutablePointer<dirent>) -> String {
        withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
    }

    /// A listing goes on to its end while what it lists is removed.
    @Test(arguments: MountedServer.available) func removingWhileListing(
        _ server: MountedServer
    ) throws {
        let site = try MountSite(server)
        let mount = try site.mount()
        mkdir(mount.point + "/d", 0o755)
        let directory = open(site.exported + "/d", O_RDONLY)
        for index in 0..<3000 { mknodat(directory, "entry-\(index)", S_IFREG | 0o644, 0) }
        close(directory)
        try shell("rm -r \(mount.point)/d")
        #expect(access(site.exported + "/d", F_OK) == -1)
    }

    @Test(arguments: MountedRoad.two) func fiveThousandOpenFiles(_ road: MountedRoad) throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(7), &limit)
        limit.rlim_cur = max(limit.rlim_cur, min(limit.rlim_max, 20_000))
        setrlimit(__rlimit_resource_t(7), &limit)
        let count = 5000
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        var files: [Int32] = []
        for index in 0..<count {
            let file = open("\(mount.point)/f\(index)", O_RDWR | O_CREAT, 0o644)
            guard file >= 0 else {
                Issue.record("open \(index): errno \(errno)")
                break
            }
            files.append(file)
        }
        for (index, file) in files.enumerated() where index % 50 == 0 {
            var value = UInt64(index)
            #expect(pwrite(file, &value, 8, 0) == 8)
        }
        #expect(try mount.status()["open_files"] as? Int == files.count)
        for file in files { close(file) }
        for index in stride(from: 0, to: files.count, by: 50) {
            let bytes = try readFile("\(site.exported)/f\(index)")
            #expect(bytes.count == 8 && bytes[0] == UInt8(truncatingIfNeeded: index))
        }
        let isClosed = poll(timeout: .seconds(20)) {
            (try? mount.status()["open_files"] as? Int) == 0
        }
        #expect(isClosed)
    }

    /// When the kernel has forgotten everything, no node is left but the root.
    @Test func lookupsAreForgottenExactly() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount("actimeo=0")
        let place = mount.point
        try shell(
            """
            cd \(place) && mkdir -p a/b/c && touch a/1 a/b/2 a/b/c/3 && ls -laR > /dev/null \
            && ln a/1 a/4 && mv a/b/2 a/5 && stat a/4 a/5 nothing ; cat a/1 ; rm -r a
            """)
        try shell("echo 2 > /proc/sys/vm/drop_caches")
        let isEmpty = poll(timeout: .seconds(10)) {
            (try? mount.status()["lookups"] as? Int) == 0
        }
        let left = try mount.status()["lookups"] as? Int
        #expect(isEmpty, "\(left ?? -1) lookups are left")
        #expect(try mount.status()["nodes"] as? Int == 1)
    }
}
