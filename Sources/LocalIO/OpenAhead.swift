// Asking the agent for a file before its first I/O does: worth it where an open is usually followed
// by I/O, a waste where it is not.
internal import Synchronization

/// Whether opens are followed by I/O, by what became of the last ones.
///
/// Any thread may use it. A guess that is wrong costs a round trip that nobody waits for, and
/// only one: four opens with I/O must follow before the next.
final class OpenForecast: Sendable {
    private static let streakNeeded = 4
    /// Questions whose answer no I/O has wanted yet. Whoever opens files by the thousand
    /// without touching them has so many descriptors by this, and no more.
    private static let questionLimit = 8

    private let streak = Atomic<Int>(0)
    private let questions = Atomic<Int>(0)

    var expectsIO: Bool { streak.load(ordering: .relaxed) >= Self.streakNeeded }

    /// An open file has its first I/O.
    func sawIO() { streak.add(1, ordering: .relaxed) }
    /// A file was closed without any.
    func sawNone() { streak.store(0, ordering: .relaxed) }

    /// A question's place among the few that may be open; nil if there is none.
    func takePlace() -> Place? {
        if questions.add(1, ordering: .relaxed).newValue <= Self.questionLimit {
            return Place(forecast: self)
        }
        questions.subtract(1, ordering: .relaxed)
        return nil
    }

    /// Free again when it is dropped.
    final class Place: Sendable {
        private let forecast: OpenForecast
        fileprivate init(forecast: OpenForecast) { self.forecast = forecast }
        deinit { forecast.questions.subtract(1, ordering: .relaxed) }
    }
}

/// A file that the agent was asked for before its first I/O. Dropped, it is given back.
package final class OpenAhead: Sendable {
    let question: AgentQuestion
    let access: AccessMode
    /// The lease's count of revocations before the question.
    let revocations: UInt64
    private let place: OpenForecast.Place

    init(
        question: AgentQuestion, access: AccessMode, revocations: UInt64,
        place: OpenForecast.Place
    ) {
        self.question = question
        self.access = access
        self.revocations = revocations
        self.place = place
    }

    /// Waits for the answer and gives it back: when this returns, no descriptor of the file is
    /// on its way to this process.
    func giveBack() { _ = question.answer() }
}
