// The rules of locking, enforced in debug builds: one order for every two locks, and no wait with
// a lock held. A writer that is slowed therefore holds nothing that writeback needs.
internal import CLinux

/// Checks of the calling thread's locks; nothing in release builds.
package enum LockOrder {
    /// Stops the process if the calling thread holds a `Lock`: it is about to wait.
    @inline(__always)
    package static func aboutToWait() {
        #if DEBUG
            precondition(
                clinux_locks_held() == 0, "a thread waits while it holds a lock; release it first")
        #endif
    }

    #if DEBUG
        static func lockClass(_ file: StaticString, _ line: Int32) -> Int32 {
            guard file.hasPointerRepresentation else { return 0 }
            return unsafe file.utf8Start.withMemoryRebound(
                to: CChar.self, capacity: file.utf8CodeUnitCount + 1
            ) { unsafe clinux_lock_class($0, line) }
        }

        static func acquiring(_ lockClass: Int32) {
            let outer = clinux_lock_acquiring(lockClass)
            precondition(
                outer == 0,
                """
                lock order: \(describe(lockClass)) is taken while \(describe(outer)) is held; \
                elsewhere it is the other way round
                """)
        }

        static func released(_ lockClass: Int32) { clinux_lock_released(lockClass) }

        private static func describe(_ lockClass: Int32) -> String {
            let file = unsafe String(cString: clinux_lock_class_file(lockClass))
            return "\(file):\(clinux_lock_class_line(lockClass))"
        }
    #endif
}
