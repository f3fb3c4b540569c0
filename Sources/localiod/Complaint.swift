// One clear line for what goes wrong.
internal import Glibc

enum Complaint {
    /// Writes one line on standard error.
    static func print(_ line: String) {
        var text = "localiod: \(line)\n"
        text.withUTF8 { bytes in _ = unsafe write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }

    /// One line on standard error and exit status 1.
    static func exit(_ line: String) -> Never {
        print(line)
        Glibc.exit(1)
    }
}

enum Flush {
    static func standardOutput() { fflush(nil) }
}
