import ArgumentParser
import DejaVuControl
import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import DejaVuServing
import Foundation
import Glibc

/// From the command's options to those of the parts.
extension ServeProcess {
    static func contextLength(_ command: ServeCommand, _ source: ModelSource) throws -> Int {
        guard let wanted = command.admission.context else { return source.contextLength }
        guard wanted >= 2 else { throw ValidationError("--context must be at least 2") }
        guard wanted <= source.contextLength else {
            throw ValidationError("--context \(wanted) is more than the model's \(source.contextLength)")
        }
        return wanted
    }

    static func controllerOptions(
        _ command: ServeCommand, _ source: ModelSource, _ contextLength: Int
    ) throws -> ControllerOptions {
        var limits = ControllerLimits(contextLength: contextLength)
        limits.outputCountDefault = command.admission.defaultMaxTokens
        limits.sequencesMax = command.admission.maxSequences
        limits.endedKept = .seconds(Int64(command.admission.resumeGrace))
        limits.queueRequestsMax = command.admission.maxQueue
        limits.passRowsMax = command.admission.tokenBudget
        limits.chunkRowsMax = min(command.admission.promptChunk, command.admission.tokenBudget)
        limits.microbatchSequencesMax = min(limits.microbatchSequencesMax, limits.passRowsMax)
        limits.promptRowsMax = command.admission.promptBudget
        let batching = command.admission.batching
        if !batching.cutsPrompts {
            // Whole prompts of several requests, as far as a pass can have rows.
            let (rows, overflow) = (batching.paperSequences ?? 8).multipliedReportingOverflow(by: contextLength)
            limits.passRowsMax = max(limits.passRowsMax, overflow ? 65_536 : min(rows, 65_536))
            limits.promptRowsMax = limits.passRowsMax
            (limits.chunkRowsMax, limits.chunkRowsMin) = (limits.passRowsMax, limits.passRowsMax)
        }
        limits.queueTokensMax = max(limits.queueTokensMax, contextLength)
        var configuration = ControllerConfiguration(
            model: source.modelID, layerCount: source.layerCount, vocabularyCount: source.vocabularyCount,
            numericClass: source.numericClass(command.device.kernels), topology: command.topology.pipelineTopology,
            limits: limits)
        configuration.outputCost = source.outputCost
        configuration.disaggregateAbove =
            command.topology.disaggregateAbove ?? source.shortPromptMax ?? configuration.disaggregateAbove
        configuration.replicates = command.topology.replicate != .off
        configuration.batching = batching.control
        configuration.swapping = command.topology.swap
        try configuration.validate()
        var options = ControllerOptions(
            configuration: configuration, stateDirectory: "", localWorkers: localWorkers(command, source))
        (options.stateDirectory, options.isStateTemporary) = stateDirectory(command)
        if let file = command.cluster.clusterKeyFile { options.key = try ClusterKey(file: file) }
        if let address = command.cluster.clusterListen { options.clusterListen = try LinkAddress(parsing: address) }
        options.encryption = command.cluster.encryption.encryption
        options.recordPath = command.record
        options.restoredTime = .seconds(Int64(command.admission.requestTimeout))
        return options
    }

    private static func localWorkers(_ command: ServeCommand, _ source: ModelSource) -> LocalWorkers {
        let topology = command.topology
        // A standby does not compute, so the cores belong to the stages.
        let threads = command.device.threadCount(workers: topology.stageWorkers)
        let largest =
            LayerRange.balanced(
                layers: source.layerCount, stages: topology.fewestStages, outputCost: source.outputCost
            ).map(\.count).max() ?? 1
        let perLayer = (DeviceDefaults.kvBytes(source) + source.layerCount - 1) / source.layerCount
        let device = command.device.deviceMemory?.bytes ?? perLayer * largest
        let below = topology.swap == .off ? (host: 0, disk: 0) : command.device.swapBytes(device: device)
        let swaps = below.host + below.disk > device
        // A replica that is swapped takes memory below, and on the device of whoever takes over.
        let held = swaps ? below.host + below.disk + device : device
        let (replicas, overflow) = held.multipliedReportingOverflow(by: topology.stageWorkers)
        var arguments = ["dejavu", "worker", "--local", "--model", command.model]
        arguments += command.device.arguments(
            threads: threads, deviceMemoryBytes: device,
            replicaMemoryBytes: command.device.replicaMemory?.bytes ?? (overflow ? 1 << 50 : min(replicas, 1 << 50)),
            swaps: topology.swap != .off)
        arguments += command.logging.arguments + command.faults.arguments
        var workers = LocalWorkers(count: topology.localWorkers ?? topology.workerCount, arguments: arguments)
        workers.orphanGrace = .seconds(Int64(command.cluster.orphanGrace))
        if let seconds = command.faults.restartDelay {
            (workers.restartDelayMin, workers.restartDelayMax) = (.seconds(seconds), .seconds(seconds))
        }
        return workers
    }

    /// One for each port, so that two servers on one machine do not meet; where the port is any, one that goes with the
    /// server.
    private static func stateDirectory(_ command: ServeCommand) -> (path: String, isTemporary: Bool) {
        if let path = command.cluster.stateDir { return (path, false) }
        let port = command.access.listen.split(separator: ":").last.map(String.init) ?? "0"
        if port == "0" { return (NSTemporaryDirectory() + "dejavu-\(getpid())", true) }
        let environment = ProcessInfo.processInfo.environment
        let base = environment["XDG_STATE_HOME"] ?? environment["HOME"].map { $0 + "/.local/state" }
        return ((base ?? NSTemporaryDirectory()) + "/dejavu/\(port)", false)
    }

    static func servingConfiguration(_ command: ServeCommand) throws -> ServingConfiguration {
        var configuration = ServingConfiguration()
        guard case .tcp(let host, let port) = try LinkAddress(parsing: command.access.listen) else {
            throw ValidationError("--listen takes HOST:PORT")
        }
        configuration.host = host
        configuration.port = port
        if let file = command.access.apiKeyFile {
            guard let data = FileManager.default.contents(atPath: file) else {
                throw DejaVuError(.invalidArgument, "cannot read the API key file \(file)", subject: "api-key-file")
            }
            configuration.apiKeys = ServingConfiguration.keys(inFile: String(decoding: data, as: UTF8.self))
            guard !configuration.apiKeys.isEmpty else {
                throw DejaVuError(.invalidArgument, "\(file) has no API key in it", subject: "api-key-file")
            }
        }
        configuration.isInsecure = command.access.insecure
        configuration.corsOrigins = command.access.corsOrigin
        configuration.allowedHosts = command.access.allowedHost
        configuration.requestTimeout = .seconds(Int64(command.admission.requestTimeout))
        configuration.resumeGrace = .seconds(Int64(command.admission.resumeGrace))
        if let memory = command.admission.resumeMemory { configuration.resumeBytesMax = memory.bytes }
        configuration.limits.outputCountDefault = command.admission.defaultMaxTokens
        configuration.isDemo = command.demo
        configuration.logsPrompts = command.logPrompts
        configuration.version = Version.text
        return configuration
    }
}
