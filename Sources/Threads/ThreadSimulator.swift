// The door through which the deterministic simulator takes over the waiting of its threads: the
// code above runs unchanged, and only one thread at a time does.
internal import CLinux

/// Who decides which simulated thread runs next.
package protocol ThreadSimulator: AnyObject, Sendable {
    /// The calling thread waits until `signalled(semaphore)`, or until so much virtual time has
    /// passed. May return early.
    func wait(for semaphore: UInt, nanoseconds: UInt64?)
    /// A semaphore has been signalled by the calling thread; does not wait.
    func signalled(_ semaphore: UInt)
}

/// Whether the calling thread is simulated.
package enum SimulatedThread {
    private final class Holder: Sendable {
        let simulator: any ThreadSimulator
        init(_ simulator: any ThreadSimulator) { self.simulator = simulator }
    }

    /// nil on every thread of a real program: one thread-local load.
    @inline(__always)
    static var simulator: (any ThreadSimulator)? {
        guard let holder = unsafe clinux_thread_simulator() else { return nil }
        return unsafe Unmanaged<Holder>.fromOpaque(holder).takeUnretainedValue().simulator
    }

    /// From now on `simulator` decides when the calling thread runs; nil gives it back.
    package static func set(_ simulator: (any ThreadSimulator)?) {
        if let old = unsafe clinux_thread_simulator() {
            clinux_set_thread_simulator(nil)
            unsafe Unmanaged<Holder>.fromOpaque(old).release()
        }
        if let simulator {
            unsafe clinux_set_thread_simulator(
                Unmanaged.passRetained(Holder(simulator)).toOpaque())
        }
    }

    /// Keeps the calling thread on one CPU: threads that hand a baton on run faster there.
    package static func pin(_ choice: Int) { clinux_pin_thread(Int32(truncatingIfNeeded: choice)) }
}
