// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// Tests reach into raw memory freely; everything else stays as strict as the sources.
let strictTests: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let gnuSource: [CSetting] = [.define("_GNU_SOURCE")]

let argumentParser: Target.Dependency = .product(
    name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "Metrics", package: "swift-metrics")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")

let lifecycle: Target.Dependency = .product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals: Target.Dependency = .product(
    name: "UnixSignals", package: "swift-service-lifecycle")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

let package = Package(
    name: "LocalIO",
    products: [
        .library(name: "LocalIO", targets: ["LocalIO"]),
        .executable(name: "localio-bench", targets: ["localio-bench"]),
        .executable(name: "localiod", targets: ["localiod"]),
        // For the package in Benchmarks alone: everything in it is visible to this project only.
        .library(name: "_LocalIOInternals", targets: ["LocalIO", "LocalIOAgent"]),
        .executable(name: "localio-mount", targets: ["localio-mount"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(
            url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C fences: opaque types and plain functions, so that no C header leaks into Swift.
        .target(name: "CLinux", cSettings: gnuSource),
        .target(
            name: "CUring", cSettings: gnuSource, linkerSettings: [.linkedLibrary("uring")]),
        .target(name: "CLocalIORPC", dependencies: ["CTIRPC"], cSettings: gnuSource),
        .systemLibrary(
            name: "CNFS", pkgConfig: "libnfs", providers: [.apt(["libnfs-dev"])]),
        .systemLibrary(
            name: "CFUSE", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
        .systemLibrary(
            name: "CTIRPC", pkgConfig: "libtirpc", providers: [.apt(["libtirpc-dev"])]),

        .target(
            name: "CLocalIOFUSE", dependencies: ["CFUSE", "CLinux"], cSettings: gnuSource),

        // Locks that sanitizers understand, owned threads, doorbells.
        .target(name: "Threads", dependencies: ["CLinux"], swiftSettings: strict),
        .target(name: "NFSTypes", swiftSettings: strict),
        // What a client and the agent say to each other over a Unix socket.
        .target(
            name: "AgentProtocol", dependencies: ["NFSTypes", "Threads", "CLinux"],
            swiftSettings: strict),
        .target(
            name: "NFSClient",
            dependencies: [
                "NFSTypes", "Threads", "CNFS", "CLocalIORPC", "CLinux", logging, system,
            ],
            swiftSettings: strict),
        .target(
            name: "DirectIO", dependencies: ["NFSTypes", "Threads", "CUring", "CLinux", system],
            swiftSettings: strict),
        // Pages of files in memory, their states and their writeback; does no I/O itself.
        .target(
            name: "PageCache", dependencies: ["NFSTypes", "Threads", "CLinux"],
            swiftSettings: strict),
        .target(
            name: "LocalIO",
            dependencies: [
                "NFSTypes", "NFSClient", "DirectIO", "PageCache", "AgentProtocol", "Threads",
                "CLinux", logging,
                metrics, system, histogram, deque,
            ],
            swiftSettings: strict),
        .target(
            name: "LocalIOServer",
            dependencies: [
                "AgentProtocol", "NFSTypes", "Threads", "CLocalIORPC", "CLinux", logging, system,
                deque,
            ],
            swiftSettings: strict),
        // The agent beside any NFS server: proves locality, asks the server, hands out files.
        .target(
            name: "LocalIOAgent",
            dependencies: [
                "LocalIOServer", "NFSClient", "AgentProtocol", "NFSTypes", "Threads", "CLinux",
                logging, metrics, deque, yams,
            ],
            swiftSettings: strict),
        // FUSE operations in, client calls out.
        .target(
            name: "LocalIOFUSE",
            dependencies: [
                "LocalIO", "NFSClient", "NFSTypes", "DirectIO", "Threads", "CLinux",
                "CLocalIOFUSE", logging, system,
            ],
            swiftSettings: strict),
        // What localio-bench measures and how: workloads, roads, private servers, reports.
        .target(
            name: "LocalIOBench",
            dependencies: [
                "LocalIO", "LocalIOServer", "NFSClient", "NFSTypes", "DirectIO", "PageCache",
                "Threads", "CLinux", logging, system, histogram, yams,
            ],
            swiftSettings: strict),
        .target(
            name: "LocalIOTesting",
            dependencies: [
                "LocalIOBench", "LocalIO", "LocalIOServer", "NFSClient", "DirectIO", "NFSTypes",
                "Threads", "CLinux", "CAllocationCounter", system,
            ],
            swiftSettings: strict),
        // The product's I/O paths under virtual time, with every fault a seed can think of.
        .target(
            name: "LocalIOSimulation",
            dependencies: [
                "LocalIO", "PageCache", "LocalIOBench", "NFSClient", "DirectIO", "NFSTypes",
                "Threads", "CLinux", logging, system,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "localio-simulate", dependencies: ["LocalIOSimulation", argumentParser],
            path: "Tests/Simulation", swiftSettings: strict),
        // Counts heap allocations; linked by tests only.
        .target(name: "CAllocationCounter"),

        .executableTarget(
            name: "localio-bench", dependencies: ["LocalIOBench", argumentParser],
            swiftSettings: strict),
        .executableTarget(
            name: "localiod",
            dependencies: [
                "LocalIOServer", "LocalIOAgent", "AgentProtocol", "Threads", argumentParser,
                logging, lifecycle, unixSignals,
            ],
            swiftSettings: strict),

        .executableTarget(
            name: "localio-mount",
            dependencies: ["LocalIOFUSE", argumentParser, logging],
            swiftSettings: strict),

        // What Tests/Guest/run.sh runs in the guest kernel.
        .executableTarget(
            name: "guest-context", dependencies: ["DirectIO", "Threads", "CLinux", system],
            path: "Tests/Guest/context", swiftSettings: strict),

        .testTarget(name: "ThreadsTests", dependencies: ["Threads"], swiftSettings: strictTests),
        .testTarget(
            name: "AgentProtocolTests", dependencies: ["AgentProtocol", "NFSTypes", "CLinux"],
            swiftSettings: strictTests),
        .testTarget(name: "NFSTypesTests", dependencies: ["NFSTypes"], swiftSettings: strictTests),
        .testTarget(
            name: "NFSClientTests",
            dependencies: ["NFSClient", "NFSTypes", "LocalIOTesting", "LocalIOBench", system],
            swiftSettings: strictTests),
        .testTarget(
            name: "DirectIOTests",
            dependencies: [
                "DirectIO", "LocalIOTesting", "CAllocationCounter", "CLinux", "Threads", system,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "PageCacheTests",
            dependencies: ["PageCache", "LocalIOBench", "LocalIOTesting"],
            swiftSettings: strictTests),
        .testTarget(
            name: "LocalIOTests",
            dependencies: [
                "LocalIO", "LocalIOTesting", "LocalIOBench", "NFSClient", "NFSTypes", "DirectIO",
                "AgentProtocol", "Threads", "CLinux", "CAllocationCounter", "localiod", logging,
                system,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "LocalIOServerTests",
            dependencies: [
                "LocalIOServer", "AgentProtocol", "CLocalIORPC", "NFSClient", "LocalIOTesting",
                "localiod", logging,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "AgentTests",
            dependencies: [
                "LocalIOAgent", "AgentProtocol", "LocalIOServer", "NFSClient", "NFSTypes",
                "LocalIOTesting", "LocalIOBench", "Threads", "CLinux", "localiod", logging,
                system,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "LocalIOBenchTests",
            dependencies: ["LocalIOBench", "LocalIOTesting", "localio-bench"],
            swiftSettings: strictTests),
        .testTarget(
            name: "MountTests",
            dependencies: [
                "LocalIOFUSE", "LocalIOTesting", "LocalIOBench", "LocalIO", "CLinux", "Threads",
                "localio-mount", "localiod", system,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "SimulationTests", dependencies: ["LocalIOSimulation", "LocalIOTesting"],
            swiftSettings: strictTests),
        .testTarget(name: "TidyTests", dependencies: ["CFUSE"], swiftSettings: strictTests),
    ],
    cLanguageStandard: .gnu11
)
