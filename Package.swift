// swift-tools-version: 6.2
import PackageDescription

/// What every target of ours is compiled with; see docs/ARCHITECTURE.md, "Rules".
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

/// A library target of ours with the strict settings.
func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// The tests of one module, which see what that module sees.
func tests(_ name: String, _ dependencies: [Target.Dependency] = [], fixtures: String? = nil) -> Target {
    .testTarget(
        name: name + "Tests", dependencies: [.byName(name: name)] + dependencies,
        exclude: fixtures.map { [$0] } ?? [], swiftSettings: strict)
}

let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

/// Files that become part of the program.
let embedded: [Resource] = [
    "API/openapi.json", "Page/page.html", "Page/page.css", "Page/markdown.js", "Page/cluster.js", "Page/chat.js",
].map { .embedInCode($0) }

let package = Package(
    name: "dejavu",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "dejavu", targets: ["dejavu"]),
        // With the ids and KV types that its API speaks of.
        .library(name: "DejaVuLib", targets: ["DejaVuLib", "DejaVuKV", "DejaVuCore"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // Decides, never does: pure values and state machines.
        module("DejaVuCore"),
        module("DejaVuKV", ["DejaVuCore"]),
        module("DejaVuControl", ["DejaVuCore", "DejaVuKV"]),
        module("DejaVuSimulation", ["DejaVuCore", "DejaVuKV", "DejaVuControl"]),

        // Does, never decides.
        module("DejaVuEngine", ["DejaVuCore"]),
        module("DejaVuGGUF", ["DejaVuCore", .product(name: "Crypto", package: "swift-crypto")]),
        module("DejaVuTokenizer", ["DejaVuCore", "DejaVuGGUF"]),
        module("DejaVuTemplate", ["DejaVuCore"]),
        module(
            "DejaVuLib",
            [
                "DejaVuCore", "DejaVuKV", "CChecksum", .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ] + nio),
        .systemLibrary(name: "CGGML", pkgConfig: "ggml"),
        .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-Wall", "-Werror", "-ffp-contract=off"])]),
        .target(name: "CLinux"),
        .target(name: "CChecksum", cSettings: [.unsafeFlags(["-O3", "-Wall", "-Werror"])]),
        module("DejaVuGGML", ["DejaVuCore", "CGGML", "CKernels", "CLinux"]),
        module("DejaVuGGMLStore", ["DejaVuCore", "DejaVuKV", "DejaVuLib", "DejaVuGGML"]),
        module("DejaVuModel", ["DejaVuCore", "DejaVuEngine", "DejaVuGGUF", "DejaVuGGML"]),

        // The processes.
        module(
            "DejaVuRuntime",
            ["DejaVuCore", "DejaVuKV", "DejaVuControl", "DejaVuEngine", "DejaVuLib", "CLinux", logging] + nio),
        module(
            "DejaVuMetrics", ["DejaVuCore", .product(name: "CoreMetrics", package: "swift-metrics")]),
        .target(
            name: "DejaVuServing",
            dependencies: [
                "DejaVuCore", "DejaVuControl", "DejaVuGGUF", "DejaVuTokenizer", "DejaVuTemplate", "DejaVuMetrics",
                logging, .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
            ] + nio,
            resources: embedded,
            swiftSettings: strict),
        module("DejaVuPlot"),
        module(
            "DejaVuBench",
            [
                "DejaVuCore", "DejaVuKV", "DejaVuLib", "DejaVuPlot",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ] + nio),
        module(
            "DejaVuCLI",
            [
                "DejaVuCore", "DejaVuControl", "DejaVuSimulation", "DejaVuEngine", "DejaVuGGUF", "DejaVuTokenizer",
                "DejaVuTemplate", "DejaVuLib", "DejaVuModel", "DejaVuRuntime", "DejaVuMetrics", "DejaVuServing",
                "DejaVuPlot", "DejaVuBench", "CLinux", logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ] + nio),
        .executableTarget(name: "dejavu", dependencies: ["DejaVuCLI"], swiftSettings: strict),

        tests("CKernels"),
        tests("DejaVuControl", ["DejaVuCore", "DejaVuKV"]),
        tests("DejaVuCLI", ["DejaVuCore"]),
        tests("DejaVuCore"),
        tests("DejaVuEngine", ["DejaVuCore"]),
        tests("DejaVuGGUF"),
        tests("DejaVuGGMLStore", ["DejaVuCore", "DejaVuKV", "DejaVuLib", "DejaVuGGML"] + nio),
        tests("DejaVuKV", ["DejaVuCore"]),
        tests("DejaVuLib", ["DejaVuCore", "DejaVuKV", "CChecksum", "DejaVuTestStores", "DejaVuTestPeer"] + nio),
        tests("DejaVuModel", ["DejaVuCore", "DejaVuEngine", "DejaVuGGUF", "DejaVuGGML"]),
        tests("DejaVuPlot"),
        tests("DejaVuTemplate", ["DejaVuCore"], fixtures: "Fixtures"),
        tests("DejaVuTokenizer", ["DejaVuCore", "DejaVuGGUF"], fixtures: "Fixtures"),
        // A store that records, for the tests' processes and for the tests.
        .target(
            name: "DejaVuTestStores", dependencies: ["DejaVuCore", "DejaVuKV", "DejaVuLib"] + nio,
            path: "Tests/Support/DejaVuTestStores", swiftSettings: strict),
        // Real ends of transports, workers and controllers, for tests to kill.
        .executableTarget(
            name: "DejaVuTestPeer", dependencies: ["DejaVuCore", "DejaVuKV", "DejaVuLib", "DejaVuTestStores"] + nio,
            path: "Tests/Support/DejaVuTestPeer", swiftSettings: strict),
        .executableTarget(
            name: "DejaVuTestWorker",
            dependencies: ["DejaVuCore", "DejaVuControl", "DejaVuEngine", "DejaVuRuntime", logging],
            path: "Tests/Support/DejaVuTestWorker", swiftSettings: strict),
        tests(
            "DejaVuRuntime",
            [
                "DejaVuCore", "DejaVuKV", "DejaVuControl", "DejaVuEngine", "DejaVuLib", "DejaVuTestWorker", logging,
            ] + nio),
        tests("DejaVuSimulation", ["DejaVuCore", "DejaVuKV", "DejaVuControl"]),
        tests("DejaVuMetrics", [.product(name: "CoreMetrics", package: "swift-metrics")]),
        tests(
            "DejaVuServing",
            [
                "DejaVuCore", "DejaVuControl", "DejaVuMetrics", logging,
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdTesting", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ] + nio),
        tests(
            "DejaVuBench",
            ["DejaVuCore", "DejaVuKV", "DejaVuLib", "DejaVuPlot", .product(name: "NIOHTTP1", package: "swift-nio")]
                + nio),
    ]
)
