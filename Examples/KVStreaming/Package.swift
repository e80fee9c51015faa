// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "KVStreaming",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "dejavu", path: "../..")],
    targets: [
        .executableTarget(
            name: "kvstreaming", dependencies: [.product(name: "DejaVuLib", package: "dejavu")],
            path: "Sources/KVStreaming")
    ]
)
