// Counts what localio-mount does for the calls of another process.
internal import DirectIO
internal import Glibc
internal import SystemPackage

extension Callgrind {
    /// One run of a mount under Valgrind, with as many calls as the work has I/Os.
    func countMount(_ work: InstructionWork) throws(BenchError) -> Count {
        let copy = directory.path.string + "/localio-mount"
        Files.remove(output)
        if !Files.exists(copy) {
            try Self.copy(try EmbeddedServerProcess.beside("localio-mount"), to: copy)
        }
        let options =
            "local=agent,agent_socket=\(work.agent.socket ?? ""),"
            + "agent_port=\(work.agent.programPort ?? 0)"
        let mount = try MountProcess("/usr/bin/env") { point in
            words + [copy, "-f", work.url, point, "-o", options]
        }
        defer { mount.remove() }
        try work.call("\(mount.point)/\(InstructionFile.name)")
        try check(mount, work)
        let point = mount.point
        guard unsafe umount2(point, 0) == 0 else {
            throw .system("\(work.path.rawValue): cannot unmount", errno: errno)
        }
        guard mount.process.wait(timeout: .seconds(60)) == 0,
            let total = Self.total(Files.text(at: output) ?? "")
        else {
            throw BenchError("\(work.path.rawValue): valgrind counted nothing")
        }
        return Count(instructions: total, retries: 0)
    }

    /// Every call must have gone the local road.
    private func check(
        _ mount: MountProcess, _ work: InstructionWork
    ) throws(BenchError) {
        let status = try ChildProcess.mustRun(
            try EmbeddedServerProcess.beside("localio-mount"), ["status", mount.point])
        let lines = status.split(separator: "\n").map(String.init)
        let wanted = "local: \(work.count) I/Os"
        guard lines.contains(where: { $0.hasPrefix(wanted) }) else {
            let said = lines.first { $0.hasPrefix("locality: ") } ?? "locality: unknown"
            let roads = lines.filter { $0.hasPrefix("local: ") || $0.hasPrefix("rpc: ") }
            throw BenchError(
                "\(work.path.rawValue): not all \(work.count) I/Os went the local road: \(said); "
                    + roads.joined(separator: "; "))
        }
    }
}

extension InstructionWork {
    /// The I/Os as a program that knows nothing of us does them.
    func call(_ file: String) throws(BenchError) {
        let size = InstructionFile.blockSize
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { unsafe memory.deallocate() }
        unsafe BlockPattern(seed: 1).fill(memory, offset: 0, generation: 1)
        let descriptor: FileDescriptor
        do {
            descriptor = try .open(
                FilePath(file), .readWrite,
                options: FileDescriptor.OpenOptions(rawValue: Descriptor.directFlag))
        } catch { throw BenchError("\(path.rawValue): cannot open \(file): \(error)") }
        defer { try? descriptor.close() }
        for index in 0..<count {
            let offset = Int(InstructionFile.offset(index))
            let moved =
                path == .mountWrite
                ? unsafe pwrite(descriptor.rawValue, memory.baseAddress, size, offset)
                : unsafe pread(descriptor.rawValue, memory.baseAddress, size, offset)
            guard moved == size else {
                throw moved < 0
                    ? .system(path.rawValue, errno: errno)
                    : BenchError("\(path.rawValue): moved \(moved) of \(size) bytes")
            }
        }
    }
}
