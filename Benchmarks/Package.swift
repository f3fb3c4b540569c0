// swift-tools-version: 6.1
// Micro-benchmarks of LocalIO's parts; a package of its own, so that users of the library fetch
// nothing for them.
import PackageDescription

/// What is measured is visible inside LocalIO's own package only, and a package's name is the
/// name of its directory, as SwiftPM has it; a root package may say so to the compiler.
let measured: String = {
    let words = Context.packageDirectory.split(separator: "/")
    let name = words.dropLast().last.map(String.init) ?? "localio"
    return String(name.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "_" })
}()

let package = Package(
    name: "Benchmarks",
    dependencies: [
        .package(name: "LocalIO", path: ".."),
        // Its defaults are interposers of malloc and of the runtime; nothing here counts those.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    ],
    targets: [
        .executableTarget(
            name: "Micro",
            dependencies: [
                .product(name: "Benchmark", package: "benchmark"),
                .product(name: "_LocalIOInternals", package: "LocalIO"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            path: "Benchmarks/Micro",
            // Or SwiftPM's own name for this package would follow ours, and win.
            packageAccess: false,
            swiftSettings: [
                .swiftLanguageMode(.v6), .unsafeFlags(["-package-name", measured]),
            ],
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
    ]
)
