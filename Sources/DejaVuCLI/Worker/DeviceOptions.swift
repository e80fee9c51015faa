import ArgumentParser
import CLinux
import DejaVuCore
import DejaVuModel
import Foundation
import Glibc

extension KernelSet: ExpressibleByArgument {}

/// What a worker's device is: the same for workers that `serve` starts and for those that join.
struct DeviceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Compute threads of each worker; all of them never exceed the cores.", valueName: "count"))
    var threads: Int?
    @Option(help: "Memory for KV on each worker's device, like 512M or 4G.")
    var deviceMemory: ByteSize?
    @Option(
        help: ArgumentHelp(
            "Host memory of each worker for KV that its device cannot hold: sequences take turns on the device.",
            discussion: "All KV lies there, so it is of use only if it is more than --device-memory. Copies for other "
                + "workers take as much besides, within --replica-memory."))
    var hostMemory: ByteSize?
    @Option(
        help: ArgumentHelp(
            "Where each worker keeps KV that neither device nor --host-memory holds, in a file without a name.",
            valueName: "directory"))
    var swapDir: String?
    @Option(
        help:
            "Its size for each worker, and for each copy that a worker holds; four times --device-memory if not given.")
    var swapSize: ByteSize?
    @Option(
        help: ArgumentHelp(
            "Memory for copies of other workers' KV, beside --device-memory; 0 for none.",
            discussion: "As much as all stages have where `serve` starts the worker, else as --device-memory."))
    var replicaMemory: ByteSize?
    @Option(help: "Who multiplies matrices: `native`, our kernels over repacked weights, or `reference`, ggml's own.")
    var kernels: KernelSet = .native
    @Option(
        help: ArgumentHelp(
            "Where workers share repacked weights; `off` gives each its own. Default: dejavu in the user's caches.",
            valueName: "directory"))
    var weightCache: String?
    /// For tests of recovery; see `StageEngineOptions.checksRewrites`.
    @Flag(help: .hidden)
    var checkRewrites = false

    /// - Throws: `ValidationError` naming the option.
    func check() throws {
        if let threads, !(1...256).contains(threads) { throw ValidationError("--threads must be 1 to 256") }
        if let deviceMemory, deviceMemory.bytes < 1 << 20 {
            throw ValidationError("--device-memory must be at least 1M")
        }
        if swapSize != nil, swapDir == nil { throw ValidationError("--swap-size needs --swap-dir") }
        if let hostMemory, let deviceMemory, swapDir == nil, hostMemory.bytes <= deviceMemory.bytes {
            throw ValidationError(
                "--host-memory holds all KV, so it must be more than --device-memory for sequences to take turns")
        }
        if let weightCache, weightCache.isEmpty { throw ValidationError("--weight-cache takes a directory, or off") }
    }

    /// The threads of one of `workers` workers that compute at the same time.
    func threadCount(workers: Int) -> Int { threads ?? max(1, Machine.coreCount / max(1, workers)) }

    /// What there is below a device of that much memory, in bytes; 0 for nothing.
    func swapBytes(device: Int) -> (host: Int, disk: Int) {
        (hostMemory?.bytes ?? 0, swapDir == nil ? 0 : swapSize?.bytes ?? min(device, 1 << 50) * 4)
    }

    /// The arguments that make a child's options the same.
    func arguments(threads: Int, deviceMemoryBytes: Int, replicaMemoryBytes: Int, swaps: Bool) -> [String] {
        [
            "--threads", "\(threads)", "--device-memory", "\(deviceMemoryBytes)", "--replica-memory",
            "\(replicaMemoryBytes)", "--kernels", kernels.rawValue,
            "--weight-cache", weightCacheDirectory() ?? "off",
        ] + (checkRewrites ? ["--check-rewrites"] : []) + (swaps ? swapArguments : [])
    }

    private var swapArguments: [String] {
        (hostMemory.map { ["--host-memory", "\($0.bytes)"] } ?? [])
            + (swapDir.map { ["--swap-dir", $0] } ?? []) + (swapSize.map { ["--swap-size", "\($0.bytes)"] } ?? [])
    }

    /// nil if every worker is to keep its own.
    func weightCacheDirectory() -> String? {
        WeightCacheDirectory.resolve(weightCache, environment: ProcessInfo.processInfo.environment)
    }
}

/// What this machine has.
enum Machine {
    /// Cores that this process may run on.
    static let coreCount: Int = {
        var count = 0
        var cpu = clinux_allowed_cpu(0)
        while cpu >= 0 {
            count += 1
            cpu = clinux_allowed_cpu(cpu + 1)
        }
        return max(1, count)
    }()

    /// Bytes of physical memory.
    static let memoryBytes = max(1 << 30, sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)))

    static let hostName: String = {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()
}
