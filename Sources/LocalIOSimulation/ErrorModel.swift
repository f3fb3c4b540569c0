// Who has to be told of which error: each opener of each failure of writeback exactly once, at
// its next fsync or close.

/// The failures of one file, in order. Touched with the baton held.
struct ErrorModel {
    /// What one opener knows.
    struct Opener {
        /// Failures that it has certainly been told of, or that came before it.
        fileprivate var told: Int
        /// Failures that it has not certainly been told of begin here.
        fileprivate var untold: Int
    }

    private struct Failure {
        /// A new failure of writeback, not the same one met again.
        let isNew: Bool
        let errno: Int32
    }

    private var failures: [Failure] = []
    /// Pages whose newest write has failed.
    private var failedPages: Set<Int> = []
    /// Those of which some were given up, and some may just then have been tried again: of one
    /// that fails again the openers need not be told again.
    private var perhapsFailedPages: Set<Int> = []

    var opener: Opener { Opener(told: failures.count, untold: failures.count) }
    var count: Int { failures.count }
    var hasFailedPages: Bool { !failedPages.isEmpty }
    /// Some of its pages may be given up.
    var mayHaveFailedPages: Bool { hasFailedPages || !perhapsFailedPages.isEmpty }

    /// A write of pages has failed with an error that is told.
    mutating func writeFailed(_ pages: Range<Int>, errno: Int32) {
        let isNew = pages.contains {
            !failedPages.contains($0) && !perhapsFailedPages.contains($0)
        }
        failedPages.formUnion(pages)
        perhapsFailedPages.subtract(pages)
        failures.append(Failure(isNew: isNew, errno: errno))
    }

    mutating func written(_ pages: Range<Int>) {
        if !failedPages.isEmpty { failedPages.subtract(pages) }
        if !perhapsFailedPages.isEmpty { perhapsFailedPages.subtract(pages) }
    }

    /// A commit has failed: whoever shares it is told; nobody else must be.
    mutating func commitFailed(errno: Int32) {
        failures.append(Failure(isNew: false, errno: errno))
    }

    /// Failed bytes were given up.
    mutating func dropped(isCertain: Bool) {
        if isCertain {
            perhapsFailedPages.formUnion(failedPages)
            failedPages = []
        }
        failures.append(Failure(isNew: isCertain, errno: 0))
    }

    /// What is cut off no longer fails.
    mutating func cut(from page: Int) {
        if !failedPages.isEmpty { failedPages = failedPages.filter { $0 < page } }
        if !perhapsFailedPages.isEmpty {
            perhapsFailedPages = perhapsFailedPages.filter { $0 < page }
        }
    }

    /// An fsync that began when there were `begun` failures has ended.
    /// - Returns: what is wrong with its result, or nil.
    mutating func fsyncEnds(_ opener: inout Opener, begun: Int, failed: Bool) -> String? {
        defer {
            opener.told = failures.count
            opener.untold = begun
        }
        if failed {
            return failures.count > opener.untold
                ? nil : "an error was told twice, or without cause"
        }
        let missed = failures[min(opener.told, begun)..<begun].contains { $0.isNew }
        return missed ? "an error of writeback was never told" : nil
    }
}
