// The table of POSIX cases: each makes the same calls in a directory of the mount and in a
// plain one.
import CLinux
import Glibc

/// One case.
struct SemanticsCase: Sendable {
    let name: String
    let body: @Sendable (Probe) -> Void
    init(_ name: String, _ body: @escaping @Sendable (Probe) -> Void) {
        self.name = name
        self.body = body
    }
}

/// What may be at a place in a directory.
enum Thing: String, CaseIterable, Sendable {
    case missing, file, empty, directory, fullDirectory, link, dangling, loop, fifo, inMissing
    case belowFile, longName, sticky

    /// Makes it under `base` and answers the name to use.
    func make(_ probe: Probe, _ base: String) -> String {
        switch self {
        case .missing: break
        case .file: probe.file(base)
        case .empty: probe.file(base, "")
        case .directory: probe.directory(base)
        case .fullDirectory:
            probe.directory(base)
            probe.file(base + "/inside")
        case .link:
            probe.file(base + "-target")
            probe.symlinkTo(base + "-target", base)
        case .dangling: probe.symlinkTo("nowhere", base)
        case .loop: probe.symlinkTo(base, base)
        case .fifo: Glibc.mkfifo(probe.path(base), 0o600)
        case .inMissing: return "none-\(base)/" + base
        case .belowFile:
            probe.file(base + "-file")
            return base + "-file/below"
        case .longName: return base + String(repeating: "x", count: 256)
        case .sticky: probe.directory(base, mode: 0o1777)
        }
        return base
    }
}

enum SemanticsCases {
    static let all: [SemanticsCase] =
        opens + renames + singles + links + data + times + permissions + names + rights

    private static let opens: [SemanticsCase] = {
        let flags: [(String, Int32)] = [
            ("rdonly", O_RDONLY), ("wronly", O_WRONLY), ("rdwr", O_RDWR),
            ("creat", O_RDWR | O_CREAT), ("excl", O_RDWR | O_CREAT | O_EXCL),
            ("trunc", O_RDWR | O_TRUNC), ("creat-trunc", O_WRONLY | O_CREAT | O_TRUNC),
            ("append", O_WRONLY | O_APPEND), ("directory", O_RDONLY | clinux_o_directory),
            ("nofollow", O_RDONLY | clinux_o_nofollow),
        ]
        let things = Thing.allCases.filter { $0 != .fifo && $0 != .sticky }
        return flags.flatMap { label, flag in
            things.map { thing in
                SemanticsCase("open \(label) of \(thing)") { probe in
                    let name = thing.make(probe, "a")
                    probe.open(name, flag, as: "f")
                    if probe.descriptor("f") >= 0 {
                        probe.write("f", "new")
                        probe.read("f")
                        probe.fstat("f")
                        probe.closeFile("f")
                    }
                    if thing != .longName { probe.stat(name) }
                    probe.contents(name)
                }
            }
        }
    }()

    private static let renames: [SemanticsCase] = {
        let sources: [Thing] = [.missing, .file, .directory, .fullDirectory, .link, .fifo]
        let targets: [Thing] = [
            .missing, .file, .directory, .fullDirectory, .dangling, .inMissing, .longName,
        ]
        var cases = sources.flatMap { source in
            targets.map { target in
                SemanticsCase("rename \(source) to \(target)") { probe in
                    let from = source.make(probe, "a")
                    let to = target.make(probe, "b")
                    probe.rename(from, to)
                    probe.stat(from)
                    if target != .longName { probe.stat(to) }
                    probe.list(".")
                }
            }
        }
        cases += [
            SemanticsCase("rename to itself") { probe in
                probe.file("a")
                probe.rename("a", "a")
                probe.stat("a")
            },
            SemanticsCase("rename to another link of the same file") { probe in
                probe.file("a")
                probe.link("a", "b")
                probe.rename("a", "b")
                probe.list(".")
                probe.stat("b")
            },
            SemanticsCase("rename a directory into itself") { probe in
                probe.directory("d")
                probe.rename("d", "d/e")
                probe.list(".")
            },
            SemanticsCase("rename between directories") { probe in
                probe.directory("d")
                probe.directory("e")
                probe.file("d/a", "moved")
                probe.rename("d/a", "e/b")
                probe.contents("e/b")
                probe.list("d")
                probe.stat("d")
                probe.stat("e")
            },
            SemanticsCase("rename a directory between directories") { probe in
                probe.directory("d")
                probe.directory("e")
                probe.directory("d/x")
                probe.file("d/x/f")
                probe.rename("d/x", "e/y")
                probe.contents("e/y/f")
                probe.stat("d")
                probe.stat("e")
            },
            SemanticsCase("rename over an open file") { probe in
                probe.file("a", "old")
                probe.file("b", "new")
                probe.open("a", O_RDWR, as: "f")
                probe.rename("b", "a")
                probe.read("f")
                probe.write("f", "OLD", at: 0)
                probe.read("f")
                probe.contents("a")
                probe.fstat("f")
                probe.closeFile("f")
                probe.list(".")
            },
            SemanticsCase("rename of an open file") { probe in
                probe.file("a", "text")
                probe.open("a", O_RDWR, as: "f")
                probe.rename("a", "b")
                probe.write("f", "TEXT", at: 0)
                probe.closeFile("f")
                probe.contents("b")
                probe.stat("a")
            },
        ]
        return cases
    }()

    /// One call on one thing.
    private static let singles: [SemanticsCase] = {
        let calls: [(String, @Sendable (Probe, String) -> Void)] = [
            ("unlink", { $0.unlink($1) }), ("rmdir", { $0.rmdir($1) }),
            ("mkdir", { $0.mkdir($1) }), ("mkfifo", { $0.mkfifo($1) }),
            ("truncate", { $0.truncate($1, 3) }), ("extend", { $0.truncate($1, 10_000) }),
            ("chmod", { $0.chmod($1, 0o751) }), ("chown", { $0.chown($1, 12_345, 54_321) }),
            ("symlink", { $0.symlink("target", $1) }), ("readlink", { $0.readlink($1) }),
            ("link", { $0.link($1, "other") }), ("list", { $0.list($1) }),
            (
                "utimens",
                {
                    $0.utimens(
                        $1, timespec(tv_sec: 1_000_000_000, tv_nsec: 123_456_789),
                        timespec(tv_sec: 1_100_000_000, tv_nsec: 987_654_321))
                    $0.times($1)
                }
            ),
        ]
        let things = Thing.allCases.filter { $0 != .empty }
        return calls.flatMap { label, call in
            things.compactMap { thing in
                // Opening a FIFO to list or cut it would wait for its other end.
                if thing == .fifo && (label == "list" || label == "truncate" || label == "extend") {
                    return nil
                }
                return SemanticsCase("\(label) of \(thing)") { probe in
                    let name = thing.make(probe, "a")
                    call(probe, name)
                    if thing != .longName { probe.stat(name) }
                    probe.list(".")
                }
            }
        }
    }()
}
