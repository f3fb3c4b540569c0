// Files that the kernel reads and writes by itself, and their company on one node.
internal import CLinux
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSTypes
internal import Synchronization
internal import Threads

/// How the open files of a node share it.
///
/// The kernel lets a node be either cached by FUSE or passed through, and passed through to one
/// local file alone (fs/fuse/iomode.c); opens that bypass every cache go with both.
struct Sharing {
    enum Treatment {
        /// Through FUSE's page cache.
        case cached
        /// Past this program.
        case passedThrough
        /// Past the page cache: every read and write is a request.
        case direct
    }

    private var cachedCount = 0
    private var passedCount = 0
    private var backing: Int32 = 0
    /// The local file, while the kernel has it.
    private(set) var witness: LocalWitness?
    /// What the local file was like when it was last made durable, and when that was.
    private var settled: Look?

    /// A look at the local file; nanoseconds of CLOCK_REALTIME, by which it gets its times.
    struct Look {
        let stamp: ChangeStamp
        let changeTime: Int64
        let at: Int64

        init?(_ witness: LocalWitness?) {
            // The clock first: what is written while it is looked at counts as later.
            at = Int64(clamping: clinux_realtime_nanoseconds())
            guard let attributes = witness?.attributes else { return nil }
            stamp = ChangeStamp(attributes)
            let time = attributes.changeTime
            changeTime = Int64(time.seconds) * 1_000_000_000 + Int64(time.nanoseconds)
        }
    }

    /// Coarser than any file system's clock ticks.
    private static let tick: Int64 = 50_000_000

    /// Whether the file may have been written since `settle`: every write moves its change time,
    /// unless it comes in the same tick as the write before.
    func isUnsettled(_ look: Look?) -> Bool {
        guard let look, let settled, look.stamp == settled.stamp else { return true }
        return settled.at - settled.changeTime < Self.tick
    }

    mutating func settle(_ look: Look?) { settled = look }

    /// Finds a treatment for one more open file and counts it.
    ///
    /// - Parameters:
    ///   - local: the local file; nil if there is none.
    ///   - make: has the kernel know it; its number, or a negative errno.
    mutating func admit(
        _ local: LocalWitness?, _ make: (LocalWitness) -> Int32
    ) -> (Treatment, backing: Int32) {
        if passedCount > 0 {
            guard local != nil else { return (.direct, 0) }
            passedCount += 1
            return (.passedThrough, backing)
        }
        if cachedCount == 0, let local {
            let number = make(local)
            if number > 0 {
                (passedCount, backing, witness) = (1, number, local)
                return (.passedThrough, number)
            }
        }
        cachedCount += 1
        return (.cached, 0)
    }

    /// One open file less, after the kernel has let it go.
    /// - Returns: the number that the kernel can forget, if that was the last one.
    mutating func dismiss(_ treatment: Treatment) -> Int32? {
        switch treatment {
        case .direct: return nil
        case .cached:
            cachedCount -= 1
            return nil
        case .passedThrough:
            passedCount -= 1
            guard passedCount == 0 else { return nil }
            defer { (backing, witness, settled) = (0, nil, nil) }
            return backing
        }
    }
}

extension MountCore {
    /// The kernel's side, if files are passed through here.
    var passage: SessionPointer? {
        guard configuration.passesThrough, let session = facts.withLock({ $0.session }),
            unsafe clfuse_session_passes_through(session.raw)
        else { return nil }
        return session
    }

    /// Decides how the kernel is to treat a file that is being opened.
    func admit(_ open: OpenFile) async -> clfuse_open {
        guard let session = passage else {
            // What was cached is looked at by `open` before, and dropped if it has changed.
            var flags = UInt32(CLFUSE_OPEN_KEEP_CACHE)
            if configuration.directIO { flags |= UInt32(CLFUSE_OPEN_DIRECT) }
            return clfuse_open(flags: flags, backing: 0)
        }
        let admitted = await onControlThread { [self] in
            let local = open.file.localWitness()
            return open.node.state.withLock { state in
                state.sharing.admit(local) { witness in
                    let number = unsafe clfuse_backing_open(session.raw, witness.raw)
                    if number < 0 { passageRefused(errno: -number) }
                    return number
                }
            }
        }
        let (treatment, backing) = admitted ?? (.direct, 0)
        open.treatment.withLock { $0 = treatment }
        switch treatment {
        case .passedThrough:
            passedThroughCount.add(1, ordering: .relaxed)
            return clfuse_open(flags: 0, backing: backing)
        case .direct: return clfuse_open(flags: UInt32(CLFUSE_OPEN_DIRECT), backing: 0)
        // What FUSE has cached may be older than what was written past it.
        case .cached: return clfuse_open(flags: 0, backing: 0)
        }
    }

    private func passageRefused(errno: Int32) {
        guard !hasWarnedOfPassage.exchange(true, ordering: .relaxed) else { return }
        logger.warning("passthrough: the kernel refuses a local file: errno \(errno)")
    }

    /// The kernel has let go of an open file.
    func dismiss(_ open: OpenFile) {
        guard let session = passage else { return }
        let treatment = open.treatment.withLock { $0 }
        if treatment == .passedThrough { passedThroughCount.subtract(1, ordering: .relaxed) }
        let unused = open.node.state.withLock { $0.sharing.dismiss(treatment) }
        if let unused { unsafe clfuse_backing_close(session.raw, unused) }
    }

    /// What a file that is passed through was written nobody here has seen: it is to be made
    /// durable, unless it is as it was when that was last done (a process that is forked closes
    /// all that its parent has open).
    /// - Returns: what to settle for, once it is durable; nil for other files.
    func noteUnseenWrites(_ open: OpenFile) -> Sharing.Look? {
        guard configuration.passesThrough, open.file.access.canWrite, isPassedThrough(open) else {
            return nil
        }
        let sharing = open.node.state.withLock { $0.sharing }
        let look = Sharing.Look(sharing.witness)
        guard sharing.isUnsettled(look) else { return nil }
        open.node.noteWrite()
        open.file.noteLocalWrites()
        return look
    }

    func noteSettled(_ open: OpenFile, _ look: Sharing.Look?) {
        guard let look else { return }
        open.node.state.withLock { $0.sharing.settle(look) }
    }

    /// Whether reads and writes of the file are requests, past FUSE's page cache.
    func bypassesCache(_ open: OpenFile) -> Bool {
        configuration.directIO
            || (configuration.passesThrough && open.treatment.withLock { $0 == .direct })
    }

    func isPassedThrough(_ open: OpenFile) -> Bool {
        open.treatment.withLock { $0 == .passedThrough }
    }
}
