// Cases of links, data, times, permissions and names.
import CLinux
import Glibc

extension SemanticsCases {
    static let links: [SemanticsCase] = [
        SemanticsCase("link counts up and down") { probe in
            probe.file("a")
            probe.link("a", "b")
            probe.stat("a")
            probe.link("b", "c")
            probe.stat("a")
            probe.unlink("a")
            probe.stat("b")
            probe.unlink("b")
            probe.stat("c")
            probe.contents("c")
        },
        SemanticsCase("link to a directory") { probe in
            probe.directory("d")
            probe.link("d", "e")
        },
        SemanticsCase("link over an existing name") { probe in
            probe.file("a")
            probe.file("b")
            probe.link("a", "b")
        },
        SemanticsCase("a write through one link is seen through the other") { probe in
            probe.file("a", "first")
            probe.link("a", "b")
            probe.open("b", O_WRONLY | O_TRUNC, as: "f")
            probe.write("f", "second")
            probe.closeFile("f")
            probe.contents("a")
            probe.stat("a")
        },
        SemanticsCase("unlink of an open file") { probe in
            probe.file("a", "still there")
            probe.open("a", O_RDWR, as: "f")
            probe.unlink("a")
            probe.stat("a")
            probe.read("f")
            probe.write("f", "written", at: 0)
            probe.read("f")
            probe.fstat("f")
            probe.closeFile("f")
            probe.list(".")
        },
        SemanticsCase("unlink of an open file with another link") { probe in
            probe.file("a", "text")
            probe.link("a", "b")
            probe.open("a", O_RDWR, as: "f")
            probe.unlink("a")
            probe.write("f", "TEXT", at: 0)
            probe.fstat("f")
            probe.closeFile("f")
            probe.contents("b")
            probe.list(".")
        },
        SemanticsCase("a new file in place of an unlinked open one") { probe in
            probe.file("a", "old")
            probe.open("a", O_RDONLY, as: "old")
            probe.unlink("a")
            probe.file("a", "new")
            probe.read("old")
            probe.contents("a")
            probe.closeFile("old")
            probe.list(".")
        },
        SemanticsCase("symbolic link keeps its target as it is") { probe in
            for target in ["x", "../..//x/", "/absolute", "with space", "ü", "."] {
                probe.symlink(target, "l")
                probe.readlink("l")
                probe.stat("l")
                probe.unlink("l")
            }
        },
        SemanticsCase("a long target of a symbolic link") { probe in
            probe.symlink(String(repeating: "a/", count: 1000), "l")
            probe.readlink("l")
            probe.symlink(String(repeating: "b", count: 4096), "m")
            probe.stat("m")
        },
        SemanticsCase("chown of a symbolic link changes the link") { probe in
            probe.file("a")
            probe.symlinkTo("a", "l")
            probe.chown("l", 1234, 4321)
            probe.stat("l")
            probe.stat("a")
        },
    ]

    static let data: [SemanticsCase] = {
        var cases: [SemanticsCase] = []
        for size in [0, 1, 511, 512, 4095, 4096, 4097, 100_000] as [off_t] {
            cases.append(
                SemanticsCase("write past the end at \(size)") { probe in
                    probe.file("a", "0123456789")
                    probe.open("a", O_RDWR, as: "f")
                    probe.write("f", "END", at: size)
                    probe.fstat("f")
                    probe.read("f", 20, at: max(size - 10, 0))
                    probe.closeFile("f")
                    probe.stat("a")
                })
            cases.append(
                SemanticsCase("ftruncate to \(size) and back") { probe in
                    probe.file("a", String(repeating: "abcdefgh", count: 1000))
                    probe.open("a", O_RDWR, as: "f")
                    probe.ftruncate("f", size)
                    probe.fstat("f")
                    probe.read("f", 16, at: max(size - 8, 0))
                    probe.ftruncate("f", 9000)
                    probe.read("f", 16, at: max(size - 8, 0))
                    probe.closeFile("f")
                    probe.stat("a")
                })
        }
        cases += [
            SemanticsCase("append goes to the end each time") { probe in
                probe.file("a", "start")
                probe.open("a", O_WRONLY | O_APPEND, as: "f")
                probe.open("a", O_WRONLY, as: "g")
                probe.write("f", "-one")
                probe.write("g", "longer than that was", at: 9)
                probe.write("f", "-two")
                probe.closeFile("f")
                probe.closeFile("g")
                probe.contents("a")
            },
            SemanticsCase("read of a write-only descriptor, write of a read-only one") { probe in
                probe.file("a")
                probe.open("a", O_WRONLY, as: "w")
                probe.read("w")
                probe.open("a", O_RDONLY, as: "r")
                probe.write("r", "no")
                probe.ftruncate("r", 1)
            },
            SemanticsCase("truncate to a negative size") { probe in
                probe.file("a")
                probe.truncate("a", -1)
            },
            SemanticsCase("two descriptors see each other's writes at once") { probe in
                probe.file("a", "")
                probe.open("a", O_RDWR, as: "f")
                probe.open("a", O_RDWR, as: "g")
                probe.write("f", "from f")
                probe.read("g")
                probe.write("g", "FROM", at: 0)
                probe.read("f")
                probe.contents("a")
            },
            SemanticsCase("creation with a mode that forbids writing") { probe in
                probe.open("a", O_RDWR | O_CREAT | O_EXCL, 0o444, as: "f")
                probe.write("f", "written all the same")
                probe.read("f")
                probe.closeFile("f")
                probe.stat("a")
                probe.contents("a")
            },
            SemanticsCase("fsync and fdatasync") { probe in
                probe.open("a", O_RDWR | O_CREAT, as: "f")
                probe.write("f", "durable")
                probe.call("fsync", fsync(probe.descriptor("f")))
                probe.call("fdatasync", fdatasync(probe.descriptor("f")))
                let directory = Glibc.open(probe.path("."), O_RDONLY)
                probe.call("fsync of a directory", fsync(directory))
                close(directory)
            },
            SemanticsCase("a file locked twice") { probe in
                probe.file("a")
                probe.open("a", O_RDWR, as: "f")
                probe.open("a", O_RDWR, as: "g")
                probe.call("flock", flock(probe.descriptor("f"), LOCK_EX))
                probe.call("second flock", flock(probe.descriptor("g"), LOCK_EX | LOCK_NB))
                probe.call("unlock", flock(probe.descriptor("f"), LOCK_UN))
                probe.call("third flock", flock(probe.descriptor("g"), LOCK_EX | LOCK_NB))
            },
            SemanticsCase("a shared mapping") { probe in
                probe.file("a", String(repeating: "x", count: 5000))
                let file = probe.open("a", O_RDWR, as: "f")
                guard
                    let map = mmap(nil, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0),
                    map != MAP_FAILED
                else { return probe.note("mmap", "fails") }
                map.storeBytes(of: UInt8(ascii: "Y"), toByteOffset: 4500, as: UInt8.self)
                probe.read("f", 3, at: 4499)
                probe.call("msync", msync(map, 5000, MS_SYNC))
                munmap(map, 5000)
                probe.closeFile("f")
                probe.stat("a")
            },
        ]
        return cases
    }()

    static let times: [SemanticsCase] = {
        typealias Change = @Sendable (Probe) -> Void
        let changes: [(String, Change)] = [
            ("write", { $0.open("a", O_WRONLY, as: "f"); $0.write("f", "x"); $0.closeFile("f") }),
            ("read", { $0.contents("a") }), ("chmod", { $0.chmod("a", 0o600) }),
            ("chown", { $0.chown("a", 1, 1) }), ("link", { $0.link("a", "b") }),
            ("truncate", { $0.truncate("a", 1) }), ("same size", { $0.truncate("a", 7) }),
            ("open with O_TRUNC", { $0.open("a", O_WRONLY | O_TRUNC, as: "f") }),
        ]
        let inDirectory: [(String, Change)] = [
            ("create", { $0.file("d/new") }), ("mkdir", { $0.mkdir("d/new") }),
            ("unlink", { $0.unlink("d/f") }), ("rmdir", { $0.rmdir("d/s") }),
            ("rename in it", { $0.rename("d/f", "d/g") }),
            ("rename out of it", { $0.rename("d/f", "f") }),
            ("symlink", { $0.symlink("x", "d/l") }), ("link", { $0.link("d/f", "d/l") }),
        ]
        return changes.map { label, change in
            SemanticsCase("times of a file after \(label)") { probe in
                probe.file("a")
                probe.moved("a", label) { change(probe) }
            }
        }
            + inDirectory.map { label, change in
                SemanticsCase("times of a directory after \(label)") { probe in
                    probe.directory("d")
                    probe.file("d/f")
                    probe.directory("d/s")
                    probe.moved("d", label) { change(probe) }
                }
            } + [
                SemanticsCase("utimens with NOW and OMIT") { probe in
                    probe.file("a")
                    let fixed = timespec(tv_sec: 1_234_567_890, tv_nsec: 5)
                    probe.utimens("a", fixed, fixed)
                    probe.utimens(
                        "a", timespec(tv_sec: 0, tv_nsec: timeOmit),
                        timespec(tv_sec: 1_300_000_000, tv_nsec: 7))
                    probe.times("a")
                    probe.moved("a", "NOW") {
                        probe.utimens(
                            "a", timespec(tv_sec: 0, tv_nsec: timeNow),
                            timespec(tv_sec: 0, tv_nsec: timeNow))
                    }
                },
                SemanticsCase("times survive a write and a rename") { probe in
                    probe.file("a")
                    probe.open("a", O_WRONLY, as: "f")
                    probe.write("f", "data")
                    let fixed = timespec(tv_sec: 1_234_567_890, tv_nsec: 987_654_321)
                    probe.utimens("a", fixed, fixed)
                    probe.closeFile("f")
                    probe.times("a")
                    probe.rename("a", "b")
                    probe.times("b")
                },
            ]
    }()

    static let names: [SemanticsCase] = [
        SemanticsCase("255 bytes are a name, 256 are not") { probe in
            probe.open(String(repeating: "n", count: 255), O_CREAT | O_RDWR, as: "f")
            probe.open(String(repeating: "n", count: 256), O_CREAT | O_RDWR, as: "g")
            probe.list(".")
        },
        SemanticsCase("two Unicode forms are two names") { probe in
            probe.file("\u{e9}", "composed")
            probe.file("e\u{301}", "decomposed")
            probe.contents("\u{e9}")
            probe.contents("e\u{301}")
            probe.unlink("\u{e9}")
            probe.contents("e\u{301}")
        },
        SemanticsCase("a directory's links count its directories") { probe in
            probe.directory("d")
            probe.stat("d")
            probe.mkdir("d/a")
            probe.mkdir("d/b")
            probe.stat("d")
            probe.rmdir("d/a")
            probe.stat("d")
        },
        SemanticsCase("dot and dot-dot") { probe in
            probe.directory("d")
            probe.rmdir("d/.")
            probe.rmdir("d/..")
            probe.unlink("d")
            probe.mkdir(".")
            probe.rename("d", ".")
        },
        SemanticsCase("set-id bits and the sticky bit") { probe in
            probe.file("a")
            for mode in [0o4755, 0o2755, 0o6755, 0o1644, 0o7777] as [mode_t] {
                probe.chmod("a", mode)
                probe.stat("a")
            }
            probe.directory("d", mode: 0o2775)
            probe.own("d", 0, 7777)
            probe.chmod("d", 0o2775)
            probe.file("d/inherits")
            probe.mkdir("d/sub")
            probe.stat("d/inherits")
            probe.stat("d/sub")
        },
        SemanticsCase("chown takes the set-id bits away") { probe in
            probe.file("a", mode: 0o755)
            probe.chmod("a", 0o6755)
            probe.chown("a", 1000, 1000)
            probe.stat("a")
        },
        SemanticsCase("a write by another user takes the set-id bits away") { probe in
            probe.file("a", mode: 0o777)
            probe.chmod("a", 0o6777)
            asUser(12_345, 12_345) {
                probe.open("a", O_WRONLY, as: "f")
                probe.write("f", "changed")
                probe.closeFile("f")
            }
            probe.stat("a")
        },
    ]

    /// What another user may do to a file of each mode, as its owner, in its group, as anyone.
    static let permissions: [SemanticsCase] = {
        var cases: [SemanticsCase] = []
        let owners: [(String, UInt32, UInt32)] = [
            ("owner", 12_345, 1), ("group", 1, 12_345), ("supplementary group", 1, 777),
            ("other", 1, 1),
        ]
        for (label, uid, gid) in owners {
            for mode in [0o000, 0o444, 0o222, 0o640, 0o604, 0o066, 0o755, 0o711] as [mode_t] {
                cases.append(
                    SemanticsCase("\(label), mode \(String(mode, radix: 8))") { probe in
                        probe.file("a", mode: mode)
                        probe.own("a", uid, gid)
                        Glibc.chmod(probe.path("a"), mode)
                        probe.directory("d", mode: mode)
                        probe.file("d/f", mode: 0o666)
                        probe.own("d", uid, gid)
                        Glibc.chmod(probe.path("d"), mode)
                        asUser(12_345, 12_345, groups: [777, 888]) {
                            probe.open("a", O_RDONLY, as: "r")
                            probe.open("a", O_WRONLY, as: "w")
                            probe.open("a", O_RDWR, as: "rw")
                            probe.truncate("a", 2)
                            probe.chmod("a", 0o600)
                            probe.list("d")
                            probe.open("d/f", O_RDONLY, as: "df")
                            probe.open("d/new", O_CREAT | O_WRONLY, as: "dn")
                            probe.unlink("d/f")
                            probe.rename("d/new", "d/newer")
                        }
                    })
            }
        }
        cases += [
            SemanticsCase("the sticky bit keeps others' files") { probe in
                probe.directory("d", mode: 0o1777)
                probe.file("d/root")
                asUser(12_345, 12_345) {
                    probe.unlink("d/root")
                    probe.rename("d/root", "d/mine")
                    probe.open("d/own", O_CREAT | O_WRONLY, as: "f")
                    probe.unlink("d/own")
                }
            },
            SemanticsCase("who makes a file owns it") { probe in
                probe.directory("d", mode: 0o777)
                asUser(12_345, 54_321) {
                    probe.open("d/f", O_CREAT | O_WRONLY, 0o640, as: "f")
                    probe.mkdir("d/s", 0o700)
                    probe.symlink("x", "d/l")
                    probe.mkfifo("d/p", 0o600)
                }
                for name in ["d/f", "d/s", "d/l", "d/p"] { probe.stat(name) }
            },
            SemanticsCase("chown by someone who may not") { probe in
                probe.file("a")
                probe.own("a", 12_345, 12_345)
                asUser(12_345, 12_345, groups: [777]) {
                    probe.chown("a", 1, 12_345)
                    probe.chown("a", 12_345, 777)
                    probe.chown("a", 12_345, 999)
                }
                probe.stat("a")
            },
            SemanticsCase("touch by someone who may only write") { probe in
                probe.file("a", mode: 0o666)
                let now = timespec(tv_sec: 0, tv_nsec: timeNow)
                let fixed = timespec(tv_sec: 1_000_000_000, tv_nsec: 0)
                asUser(12_345, 12_345) {
                    probe.moved("a", "touch") { probe.utimens("a", now, now) }
                    probe.utimens("a", fixed, fixed)
                }
            },
            SemanticsCase("a group writer's times stay the server's affair") { probe in
                probe.file("a", mode: 0o664)
                probe.own("a", 1, 777)
                asUser(12_345, 12_345, groups: [777]) {
                    probe.open("a", O_WRONLY, as: "f")
                    probe.write("f", "by the group")
                    probe.call("fsync", fsync(probe.descriptor("f")))
                    probe.closeFile("f")
                }
                probe.contents("a")
            },
        ]
        return cases
    }()
}
