// Timed events in order of time, and among equals in order of arrival.

/// A binary heap.
struct EventQueue {
    private struct Event {
        let time: UInt64
        let number: UInt64
        let body: () -> Void

        func isBefore(_ other: Event) -> Bool {
            time != other.time ? time < other.time : number < other.number
        }
    }

    private var heap: [Event] = []
    private var count: UInt64 = 0

    /// When the next event is due.
    var next: UInt64? { heap.first?.time }

    mutating func insert(at time: UInt64, _ body: @escaping () -> Void) {
        heap.append(Event(time: time, number: count, body: body))
        count += 1
        var place = heap.count - 1
        while place > 0, heap[place].isBefore(heap[(place - 1) / 2]) {
            heap.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    mutating func pop() -> (time: UInt64, body: () -> Void)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var place = 0
            while true {
                var least = place
                for child in [2 * place + 1, 2 * place + 2] where child < heap.count {
                    if heap[child].isBefore(heap[least]) { least = child }
                }
                if least == place { break }
                heap.swapAt(place, least)
                place = least
            }
        }
        return (first.time, first.body)
    }
}
