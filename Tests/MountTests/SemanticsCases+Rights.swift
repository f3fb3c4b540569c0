// Who may do what through which name and descriptor, and names of one file beside each other.
import CLinux
import Glibc

extension SemanticsCases {
    static let rights: [SemanticsCase] = [
        SemanticsCase("truncate takes others' set-id bits away") { probe in
            for (name, mode) in [("a", 0o4777), ("b", 0o6777), ("c", 0o2777)]
                as [(String, mode_t)]
            {
                probe.file(name, mode: 0o666)
                Glibc.chmod(probe.path(name), mode)
                asUser(12_345, 12_345) { probe.truncate(name, 3) }
                probe.stat(name)
                Glibc.chmod(probe.path(name), mode)
                asUser(12_345, 12_345) {
                    probe.open(name, O_WRONLY | O_TRUNC)
                    probe.closeFile(name)
                }
                probe.stat(name)
            }
        },
        SemanticsCase("a write takes others' set-id bits away") { probe in
            probe.file("a", mode: 0o666)
            Glibc.chmod(probe.path("a"), 0o6777)
            asUser(12_345, 12_345) {
                probe.open("a", O_WRONLY)
                probe.write("a", "by another")
                probe.closeFile("a")
            }
            probe.stat("a")
        },
        SemanticsCase("ftruncate asks the descriptor, not the file") { probe in
            probe.file("a", "some content", mode: 0o666)
            asUser(12_345, 12_345) { probe.open("a", O_RDWR) }
            probe.chmod("a", 0)
            asUser(54_321, 54_321) { probe.ftruncate("a", 4) }
            probe.fstat("a")
            probe.closeFile("a")
            probe.contents("a")
        },
        SemanticsCase("ftruncate of a file that its maker may only read") { probe in
            probe.directory("d", mode: 0o777)
            asUser(12_345, 12_345) {
                probe.open("d/a", O_RDWR | O_CREAT | O_EXCL, 0o400, as: "f")
                probe.ftruncate("f", 5000)
                probe.write("f", "written", at: 4996)
            }
            probe.fstat("f")
            probe.closeFile("f")
            probe.stat("d/a")
        },
        SemanticsCase("two names of a file, one renamed") { probe in
            probe.file("a")
            probe.link("a", "b")
            probe.stat("a")
            probe.rename("b", "c")
            probe.stat("c")
            probe.rename("a", "d")
            probe.open("c", O_WRONLY | O_TRUNC)
            probe.write("c", "anew")
            probe.stat("d")
            probe.closeFile("c")
            probe.stat("d")
            probe.contents("d")
        },
        SemanticsCase("two names of a file, one replaced") { probe in
            probe.file("a")
            probe.link("a", "b")
            probe.file("other", "other content")
            probe.stat("b")
            probe.rename("other", "b")
            probe.open("a", O_WRONLY | O_APPEND)
            probe.write("a", " and more")
            probe.stat("a")
            probe.closeFile("a")
            probe.contents("a")
            probe.contents("b")
        },
        SemanticsCase("the longest targets of links") { probe in
            for length in [3000, 3001, 4000, 4095, 4096] {
                probe.symlink(String(repeating: "x", count: length), "l\(length)")
                probe.readlink("l\(length)")
                probe.stat("l\(length)")
            }
            probe.symlink(String(repeating: "y", count: 4095), "l4095")
            probe.directory("d", mode: 0o777)
            asUser(12_345, 54_321) {
                probe.symlink(String(repeating: "z", count: 4095), "d/mine")
                probe.symlink(String(repeating: "z", count: 4095), "not-mine")
            }
            probe.stat("d/mine")
        },
    ]
}
