// What a seed's world is like: how slow, how full, how unreliable. Drawn once from the seed.

/// Percentages are of the operations of their kind.
package struct FaultPlan: Sendable {
    /// Nanoseconds that an answer may take at most.
    var slowest = 200_000
    var localAgain = 0
    var localInvalid = 0
    var localNoMemory = 0
    var localError = 0
    var localNoSpace = 0
    var localShort = 0
    var syncError = 0
    var rpcTimeout = 0
    var rpcLost = 0
    var rpcJukebox = 0
    var rpcNoSpace = 0
    var rpcError = 0
    /// Operations that the queue takes at once.
    var queueCapacity = 32
    /// The server dies and comes back about so often; 0: never. Nanoseconds.
    var restartEvery = 0
    /// The lease goes and comes back about so often; 0: never. Nanoseconds.
    var revokeEvery = 0
    /// The file system runs full and is emptied about so often; 0: never. Nanoseconds.
    var fullEvery = 0
    /// Write-back of the server kernel's pages, about so often. Nanoseconds.
    var writebackEvery = 100_000
    /// The server ends reads at the size it remembers (NFS-Ganesha does).
    var serverCachesSize = false
    /// The server answers UNSTABLE writes FILE_SYNC.
    var serverIsStable = false
    var startsRemote = false
    /// Nothing fails at all: order alone must not break anything.
    let isCalm: Bool
    var block = 512
    var policy = MisalignmentPolicyChoice.rpc

    package enum MisalignmentPolicyChoice: Sendable { case rpc, split, local }

    init(_ scheduler: Scheduler) {
        func rarely(_ percent: Int, _ level: Int) -> Int {
            scheduler.chance(percent) ? scheduler.random(1...level) : 0
        }
        // A third of the seeds.
        isCalm = scheduler.oneIn(3)
        slowest = [20_000, 200_000, 2_000_000][scheduler.random(3)]
        if !isCalm {
            localAgain = rarely(40, 10)
            localInvalid = rarely(25, 10)
            localNoMemory = rarely(25, 10)
            localError = rarely(15, 4)
            localNoSpace = rarely(15, 6)
            localShort = rarely(40, 20)
            syncError = rarely(15, 10)
            rpcTimeout = rarely(20, 5)
            rpcLost = rarely(20, 5)
            rpcJukebox = rarely(20, 10)
            rpcNoSpace = rarely(15, 6)
            rpcError = rarely(10, 4)
            restartEvery = rarely(40, 20) * 1_000_000
            revokeEvery = rarely(40, 20) * 500_000
            fullEvery = rarely(20, 20) * 1_000_000
        }
        if scheduler.oneIn(4) { queueCapacity = scheduler.random(1...4) }
        writebackEvery = [20_000, 200_000, 5_000_000][scheduler.random(3)]
        serverCachesSize = scheduler.oneIn(3)
        serverIsStable = scheduler.oneIn(6)
        startsRemote = scheduler.oneIn(8)
        block = scheduler.oneIn(4) ? 4096 : 512
        policy = [.rpc, .split, .local][scheduler.random(3)]
    }
}
