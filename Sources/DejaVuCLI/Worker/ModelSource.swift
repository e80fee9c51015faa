import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuGGUF
import DejaVuModel
import DejaVuRuntime
import Foundation
import Logging

/// What a worker runs: a model file, or an emulated device.
enum ModelSource: Sendable {
    case file(GGUFFile, DecoderDescription, path: String)
    case emulated(ModelProfile)

    /// `emulated` is a device that takes no time, `emulated:PROFILE` one with a named profile or one from a file; all
    /// else is a GGUF file.
    init(_ text: String) throws {
        if text == "emulated" {
            self = .emulated(.instant)
        } else if text.hasPrefix("emulated:") {
            self = .emulated(try ProfileFile.load(String(text.dropFirst("emulated:".count))))
        } else {
            let file = try GGUFFile(path: text)
            self = .file(file, try DecoderDescription(file: file), path: text)
        }
    }

    /// How long a prompt may be that token stages run themselves; nil where no profile says what that costs.
    var shortPromptMax: Int? {
        if case .emulated(let profile) = self { profile.shortPromptMax } else { nil }
    }

    var layerCount: Int {
        switch self {
        case .file(_, let description, _): description.layerCount
        case .emulated(let profile): profile.layerCount
        }
    }

    /// See `DecoderDescription.outputCost`; emulated devices take no time for logits.
    var outputCost: Double {
        if case .file(_, let description, _) = self { description.outputCost } else { 0 }
    }

    var vocabularyCount: Int {
        switch self {
        case .file(_, let description, _): description.vocabularySize
        case .emulated(let profile): profile.vocabularyCount
        }
    }

    var modelID: ModelID {
        switch self {
        case .file(let file, _, _): file.modelID
        case .emulated(let profile): profile.model
        }
    }

    /// What the model was trained for.
    var contextLength: Int {
        switch self {
        case .file(_, let description, _): description.contextLength
        case .emulated(let profile): profile.contextLength
        }
    }

    var kvBytesPerPosition: Int {
        switch self {
        case .file(_, let description, _): description.kvBytesPerPositionAndLayer * description.layerCount
        case .emulated(let profile): profile.kvBytesPerPositionAndLayer * profile.layerCount
        }
    }

    func numericClass(_ kernels: KernelSet) -> NumericClass {
        switch self {
        case .file(let file, let description, _):
            GGMLStageEngine.numericClass(
                model: file.modelID, description: description, backend: "CPU", kernelSet: kernels)
        case .emulated(let profile): profile.numericClass
        }
    }

    func workerModel(kernels: KernelSet, kvBytesMax: Int, replicaBytesMax: Int) -> WorkerModel {
        switch self {
        case .file(let file, let description, _):
            WorkerModel(
                model: file.modelID, layerCount: description.layerCount,
                kvBytesPerPositionAndLayer: description.kvBytesPerPositionAndLayer, kvBytesMax: kvBytesMax,
                replicaBytesMax: replicaBytesMax, numericClass: numericClass(kernels))
        case .emulated(let profile):
            WorkerModel(profile, kvBytesMax: kvBytesMax, replicaBytesMax: replicaBytesMax)
        }
    }

    /// Collects whether emulated devices keep their times; nil for real ones.
    func makeMeter() -> EmulationMeter? {
        if case .emulated = self { EmulationMeter() } else { nil }
    }

    /// An emulated machine's network; nil for the real one.
    func makeWires() -> EmulatedWires? {
        if case .emulated(let profile) = self { EmulatedWires(profile) } else { nil }
    }

    /// What a worker has below a device of that much memory; nil if that is not more.
    func swapResources(_ device: DeviceOptions, deviceBytes: Int) -> SwapResources? {
        let bytes = device.swapBytes(device: deviceBytes)
        guard bytes.host + bytes.disk > deviceBytes else { return nil }
        var pace = SwapResources.Pace()
        if case .emulated(let profile) = self {
            func seconds(_ rate: Double) -> Double { rate > 0 ? profile.timeScale / rate : 0 }
            pace.hostSecondsPerByte = seconds(profile.copyBytesPerSecond)
            pace.diskSecondsPerByte = seconds(profile.diskBytesPerSecond)
        }
        return SwapResources(
            hostBytes: bytes.host, directory: device.swapDir, diskBytes: bytes.disk, pace: pace)
    }

    /// Makes a stage's engine when the worker is told which layers it gets, with the memory below its device if that
    /// holds more.
    func engineFactory(
        _ device: DeviceOptions, meter: EmulationMeter?, swap: SwapResources?, logger: Logger
    ) -> EngineFactory {
        let makeDevice = deviceFactory(device, meter: meter, logger: logger)
        return { (assignment, progress) throws(DejaVuError) in
            // Who has nothing below its device has all cells on it: it has said that they fit.
            guard assignment.swaps, let swap else { return try makeDevice(assignment, assignment.cellCount, progress) }
            return try SwappingEngine(
                device: makeDevice(assignment, assignment.residentCellCount, progress),
                cellCount: assignment.cellCount, resources: swap, progress: progress)
        }
    }

    /// Makes an engine with so many cells on the device.
    private func deviceFactory(
        _ device: DeviceOptions, meter: EmulationMeter?, logger: Logger
    ) -> @Sendable (StageAssignment, Int, ProgressCounter) throws(DejaVuError) -> any StageEngine {
        switch self {
        case .file(let file, _, _):
            let threads = device.threadCount(workers: 1)
            let kernels = device.kernels
            let weightCache = device.weightCacheDirectory()
            let checksRewrites = device.checkRewrites
            return { (assignment, cellCount, progress) throws(DejaVuError) in
                var options = StageEngineOptions(layers: assignment.layers, cellCount: cellCount)
                options.threadCount = threads
                options.kernelSet = kernels
                options.weightCache = weightCache
                options.checksRewrites = checksRewrites
                options.progress = { progress.advance() }
                options.notice = { notice in
                    logger.log(level: notice.level == .warning ? .warning : .info, "\(notice.message)")
                }
                return try GGMLStageEngine(file: file, options: options)
            }
        case .emulated(let profile):
            return { (assignment, cellCount, progress) throws(DejaVuError) in
                try EmulatedEngine(
                    profile: profile, layers: assignment.layers, cellCount: cellCount, progress: progress,
                    meter: meter ?? EmulationMeter())
            }
        }
    }
}
