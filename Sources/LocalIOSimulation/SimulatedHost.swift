// The host that everything of a seed lives on: the server process, its restarts, the lease, the
// space of the file system, the kernel's write-back.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import NFSTypes

/// One server with its files, and what befalls them. Touched with the baton held.
@safe
final class SimulatedHost: @unchecked Sendable {
    let scheduler: Scheduler
    let faults: FaultPlan
    let bouncePool: BufferPool
    private(set) var files: [SimulatedFile] = []
    /// Answers whoever asks for work that may wait: a simulated thread each time.
    private var workers = 0

    // The server process.
    private(set) var verifier: UInt64 = 1
    private(set) var isUp = true
    /// Counts its lives.
    private(set) var incarnation = 0
    var rpcInFlight = 0
    /// Operations that failed, or did less than they could.
    var troubles = 0

    // The local queue.
    var queued = 0
    private(set) var isFull = false
    private(set) var isLocal = true
    /// The seed is over: no new faults.
    private(set) var isCalm = false
    private(set) var leaseCount = 0

    init(scheduler: Scheduler, faults: FaultPlan, bouncePool: BufferPool) {
        self.scheduler = scheduler
        self.faults = faults
        self.bouncePool = bouncePool
        isLocal = !faults.startsRemote
    }

    func add(_ file: SimulatedFile) { files.append(file) }

    /// A delay of an operation.
    func delay() -> Int {
        let slowest = faults.slowest
        // Mostly quick, sometimes as slow as it gets.
        return scheduler.oneIn(8)
            ? scheduler.random(slowest / 2...slowest) : scheduler.random(1...slowest / 8)
    }

    func happens(_ percent: Int) -> Bool { !isCalm && percent > 0 && scheduler.chance(percent) }

    // MARK: - What befalls the host

    func start() {
        if faults.restartEvery > 0 { later(faults.restartEvery) { self.dies() } }
        if faults.revokeEvery > 0 { later(faults.revokeEvery) { self.revokes() } }
        if faults.fullEvery > 0 { later(faults.fullEvery) { self.fills() } }
        later(faults.writebackEvery) { self.writesBack() }
    }

    /// At some time around `average`.
    private func later(_ average: Int, _ body: @escaping () -> Void) {
        scheduler.after(scheduler.random(average / 4...average * 7 / 4), body)
    }

    /// From now on nothing fails; what is down comes back.
    func calmDown() {
        isCalm = true
        isFull = false
        if !isUp { comesBack() }
    }

    private func dies() {
        guard !isCalm else { return }
        isUp = false
        isLocal = false
        scheduler.note("server dies", incarnation)
        for file in files {
            let lost = file.storage.loseUncommitted { _ in self.scheduler.oneIn(2) }
            scheduler.note("pages lost", file.number, lost)
            file.serverSize = file.storage.size
            file.setRoute(.remote(.leaseRevoked))
        }
        scheduler.after(scheduler.random(1000...3_000_000)) { self.comesBack() }
        later(faults.restartEvery) { self.dies() }
    }

    private func comesBack() {
        guard !isUp else { return }
        isUp = true
        incarnation += 1
        verifier = UInt64(incarnation) &* 0x9e37_79b9 &+ 1
        scheduler.note("server is back", incarnation)
        scheduler.after(scheduler.random(1000...5_000_000)) { self.regains() }
    }

    private func revokes() {
        guard !isCalm else { return }
        scheduler.note("lease revoked")
        isLocal = false
        for file in files { file.setRoute(.remote(.leaseRevoked)) }
        scheduler.after(scheduler.random(1000...5_000_000)) { self.regains() }
        later(faults.revokeEvery) { self.revokes() }
    }

    /// The local road is open again.
    private func regains() {
        guard isUp, !isLocal, !faults.startsRemote else { return }
        isLocal = true
        leaseCount += 1
        scheduler.note("lease regained", leaseCount)
        for file in files { file.openLocally() }
    }

    private func fills() {
        guard !isCalm else { return }
        isFull = !isFull
        scheduler.note("file system full", isFull ? 1 : 0)
        later(faults.fullEvery) { self.fills() }
    }

    /// The kernel writes pages back, and the device's cache lets blocks go.
    private func writesBack() {
        guard !isCalm else { return }
        for file in files {
            if let page = file.storage.dirtyPage(scheduler.random(1 << 20)) {
                file.storage.writebackBegins(page)
                scheduler.note("write-back begins", file.number, page)
                scheduler.after(delay()) {
                    self.scheduler.note("write-back ends", file.number, page)
                    file.storage.writebackEnds(page)
                }
            }
            file.storage.landOne(scheduler.random(1 << 20))
        }
        later(faults.writebackEvery) { self.writesBack() }
    }

    // MARK: - Threads for work that waits

    func runWork(_ work: @escaping @Sendable () -> Void) -> Bool {
        workers += 1
        scheduler.spawn("work \(workers)") { work() }
        return true
    }
}
