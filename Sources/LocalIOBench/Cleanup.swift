// What must be gone when the process ends, however it ends: directories, servers, mounts.
// Normal code removes its own things; this is for exit() and stop signals in between.
internal import Glibc
internal import Threads

/// Things to undo, newest first, each at most once.
package enum Cleanup {
    /// Names one registered action.
    package typealias Token = Int

    private struct State {
        var next = 0
        var actions: [Token: @Sendable () -> Void] = [:]
        var installed = false
    }

    private final class Registry: Sendable {
        let state = Lock(State())
    }

    private static let registry = Registry()

    /// Runs `action` at exit unless `cancel` comes first.
    package static func register(_ action: @escaping @Sendable () -> Void) -> Token {
        registry.state.withLock { state in
            if !state.installed {
                state.installed = true
                atexit(runCleanupAtExit)
            }
            state.next += 1
            state.actions[state.next] = action
            return state.next
        }
    }

    package static func cancel(_ token: Token) {
        registry.state.withLock { _ = $0.actions.removeValue(forKey: token) }
    }

    /// Undoes everything that is still registered.
    package static func runAll() {
        while true {
            let action = registry.state.withLock { state -> (@Sendable () -> Void)? in
                guard let newest = state.actions.keys.max() else { return nil }
                return state.actions.removeValue(forKey: newest)
            }
            guard let action else { return }
            action()
        }
    }
}

private func runCleanupAtExit() { Cleanup.runAll() }
