// Every node that the kernel knows, by number, by handle and by name, with exact lookup counts.
internal import CLinux
internal import Glibc
internal import LocalIO
internal import NFSTypes
internal import Threads

/// A name in a directory.
struct NameKey: Hashable {
    let directory: UInt64
    let name: NFSName
}

/// The nodes of a mount. Any thread. Lock order: the table before a node.
final class NodeTable: Sendable {
    static let rootID: UInt64 = 1

    private struct State {
        var byID: [UInt64: Node] = [:]
        var byHandle: [FileHandle: Node] = [:]
        /// Every name that a node was found by, until it is known to have lost it.
        var byName: [NameKey: Node] = [:]
        // Never used twice, so that no generation is needed.
        var nextID: UInt64 = 2
        var openCount = 0
    }

    private let state: Lock<State>
    let root: Node

    init(root handle: FileHandle, fileID: UInt64) {
        let root = Node(id: Self.rootID, handle: handle, fileID: fileID, type: .directory)
        self.root = root
        state = Lock(State(byID: [Self.rootID: root], byHandle: [handle: root]))
    }

    var count: Int { state.withLock { $0.byID.count } }

    /// The sum of all lookups that the kernel has not forgotten; for tests and status.
    var lookupCount: UInt64 {
        state.withLock { state in
            state.byID.values.reduce(0) { $0 + $1.state.withLock { $0.lookups } }
        }
    }

    func node(_ id: UInt64) -> Node? { state.withLock { $0.byID[id] } }

    /// The current node of a handle, if the kernel knows one.
    func node(of handle: FileHandle) -> Node? { state.withLock { $0.byHandle[handle] } }

    /// The node of a file found under `name`, with one more lookup.
    ///
    /// A file that was changed elsewhere gets a new one, unless this mount has it open for
    /// writing.
    func lookedUp(
        _ handle: FileHandle, _ attributes: FileAttributes, parent: Node, name: NFSName
    ) -> Node {
        state.withLock { state in
            if let node = state.byHandle[handle] {
                if node === root { return node }
                if node.type == attributes.type && !node.isChanged(attributes) {
                    Self.place(&state, node, parent, name, isLookup: true)
                    return node
                }
                node.state.withLock { $0.isRetired = true }
            }
            let node = Node(
                id: state.nextID, handle: handle, fileID: attributes.fileID,
                type: attributes.type)
            state.nextID += 1
            state.byID[node.id] = node
            state.byHandle[handle] = node
            node.state.withLock { $0.stamp = ChangeStamp(attributes) }
            Self.place(&state, node, parent, name, isLookup: true)
            return node
        }
    }

    private static func place(
        _ state: inout State, _ node: Node, _ parent: Node, _ name: NFSName, isLookup: Bool
    ) {
        let key = NameKey(directory: parent.id, name: name)
        let previous = state.byName.updateValue(node, forKey: key)
        let isNew = previous !== node
        if isNew { previous?.lose(key) }
        node.state.withLock { node in
            if isNew { node.names.append(key) }
            node.parent = parent
            node.name = name
            node.isNameDoubted = false
            if isLookup {
                node.lookups += 1
                node.lookedUpAt = clinux_monotonic_nanoseconds()
            }
        }
    }

    /// Takes a name away from the node that has it, by this mount's own doing: the change time
    /// of the file moves with it.
    private static func take(_ state: inout State, _ key: NameKey) -> Node? {
        guard let node = state.byName.removeValue(forKey: key) else { return nil }
        node.lose(key)
        node.expectNewChangeTime()
        return node
    }

    /// A node has been renamed by this mount; what had the new name has it no more.
    func moved(from source: (Node, NFSName), to target: (Node, NFSName)) {
        state.withLock { state in
            let node = Self.take(&state, NameKey(directory: source.0.id, name: source.1))
            _ = Self.take(&state, NameKey(directory: target.0.id, name: target.1))
            guard let node else { return }
            Self.place(&state, node, target.0, target.1, isLookup: false)
        }
    }

    /// A name has been removed by this mount.
    func removed(_ name: NFSName, in directory: Node) {
        state.withLock { state in
            _ = Self.take(&state, NameKey(directory: directory.id, name: name))
        }
    }

    /// The kernel has dropped `count` lookups of a node, or never took them.
    func forget(_ id: UInt64, count: UInt64) {
        state.withLock { state in
            guard id != Self.rootID, let node = state.byID[id] else { return }
            let (isGone, names) = node.state.withLock { node in
                node.lookups -= min(count, node.lookups)
                return (node.lookups == 0, node.names)
            }
            guard isGone else { return }
            state.byID[id] = nil
            if state.byHandle[node.handle] === node { state.byHandle[node.handle] = nil }
            for key in names where state.byName[key] === node { state.byName[key] = nil }
        }
    }

    /// The next lookup of this file makes a new node.
    func retire(_ node: Node) {
        state.withLock { state in
            node.state.withLock { $0.isRetired = true }
            if state.byHandle[node.handle] === node { state.byHandle[node.handle] = nil }
        }
    }

    // MARK: - Open files

    /// Files that are open now, each open counted.
    var openCount: Int { state.withLock { $0.openCount } }

    /// The paths of files that are open for writing.
    var writtenPaths: [NFSName] {
        let nodes = state.withLock { state in
            state.byID.values.filter { $0.state.withLock { $0.writers > 0 } }
        }
        return nodes.map(\.path)
    }

    func opened(_ file: OpenFile) {
        state.withLock { state in
            state.openCount += 1
            file.node.state.withLock { node in
                node.openFiles[ObjectIdentifier(file)] = file
                if file.file.access.canWrite { node.writers += 1 }
            }
        }
    }

    /// The open is over.
    /// - Returns: the hidden name to remove now, if this was the last open of an unlinked file.
    func closed(_ file: OpenFile) -> Node.SillyName? {
        state.withLock { state in
            state.openCount -= 1
            return file.node.state.withLock { node in
                node.openFiles[ObjectIdentifier(file)] = nil
                if file.file.access.canWrite { node.writers -= 1 }
                guard node.openFiles.isEmpty else { return nil }
                defer { node.silly = nil }
                return node.silly
            }
        }
    }
}
