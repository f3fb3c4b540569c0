// The words of -o: what they set, and what is said about wrong ones.
import Glibc
import LocalIO
import LocalIOFUSE
import Testing

@Suite struct OptionTests {
    private func parse(_ options: String...) throws -> MountOptions {
        try MountOptions(source: "server:/export", mountPoint: "/mnt", options: options)
    }

    @Test func defaultsAreAnNFSMounts() throws {
        let configuration = try parse().configuration
        #expect(configuration.client.session.recovery == .hard)
        #expect(configuration.client.session.requestTimeout == .seconds(60))
        #expect(configuration.fileAttributeSeconds == 3...60)
        #expect(configuration.directoryAttributeSeconds == 30...60)
        #expect(configuration.writebackCache && !configuration.isReadOnly)
        #expect(configuration.url.host == "server")
        #expect(configuration.url.exportPath == "/export")
    }

    @Test func laterOptionsWin() throws {
        let configuration = try parse("ro,soft,timeo=50,retrans=4", "rw,local=off").configuration
        #expect(!configuration.isReadOnly)
        #expect(configuration.client.session.recovery == .soft(retries: 4))
        #expect(configuration.client.session.requestTimeout == .seconds(5))
        #expect(configuration.client.locality == .off)
    }

    @Test func attributeTimes() throws {
        #expect(try parse("acregmin=5").configuration.fileAttributeSeconds == 5...60)
        #expect(try parse("acregmin=90").configuration.fileAttributeSeconds == 90...90)
        #expect(try parse("acdirmax=1").configuration.directoryAttributeSeconds == 1...1)
        #expect(try parse("noac").configuration.entrySeconds == 0)
        #expect(try parse("actimeo=7").configuration.fileAttributeSeconds == 7...7)
    }

    @Test func fstabWordsAreAccepted() throws {
        _ = try parse("defaults,noauto,_netdev,x-systemd.automount,vers=3,proto=tcp,sec=sys,nolock")
    }

    @Test(.enabled(if: geteuid() == 0, "only root's mounts have devices"))
    func devicesNeedTheKernelsPermissions() throws {
        func kernelOptions(_ options: String...) throws -> [String] {
            let all = options.joined(separator: ",")
            return try parse(all).configuration.kernelOptions.filter { $0.hasSuffix("dev") }
        }
        #expect(try kernelOptions("rw") == ["dev"])
        #expect(try kernelOptions("permissions=server") == ["nodev"])
        #expect(try kernelOptions("permissions=server", "dev") == ["dev"])
        #expect(try kernelOptions("dev", "permissions=server", "nodev") == ["nodev"])
    }

    @Test func addressesInBrackets() throws {
        let options = try MountOptions(source: "[::1]:/export", mountPoint: "/m", options: [])
        #expect(options.configuration.url.exportPath == "/export")
    }

    @Test(arguments: ["bogus", "timeo=x", "timeo", "vers=4", "local=maybe", "ro=1", "threads=0"])
    func wrongOptionsAreNamed(_ option: String) throws {
        let failure = #expect(throws: MountFailure.self) { try parse(option) }
        let name = option.split(separator: "=").first.map(String.init) ?? ""
        #expect(failure?.description.contains(name) == true)
        #expect(failure?.description.contains("\n") == false)
    }
}
