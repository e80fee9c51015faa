package import DejaVuCore
import DejaVuKV
import DejaVuLib

/// What one step of 8 sequences in 30 layers costs to stream into host memory, against a bare loop of the same copies.
package enum StreamDelta {
    /// - Parameter shape: SmolLM2's.
    package static func measure(_ shape: StreamShape, _ options: StreamBenchOptions) throws(DejaVuError)
        -> StreamSamples
    {
        let steps = options.isQuick ? 200 : 2000
        let device = try BenchDevice(shape, length: steps + 64, profile: nil)
        let store = try StreamAblation.hostStore(device, sequences: shape.batch)
        let bare = try BareStep(device)
        var samples = StreamSamples("delta")
        samples.settings = [
            "model": shape.name, "batch": "\(shape.batch)", "layers": "\(shape.layerCount)", "steps": "\(steps)",
            "bytes_per_step": "\(shape.row.rowBytes * shape.layerCount * shape.batch)",
            "runs_per_step": "\(try device.naiveRunCount(positions: 1) * shape.batch)",
        ]
        var streaming = StreamOptions()
        // Each step is waited for, so that its time is seen.
        streaming.tokenOverlap = false
        try options.interleave(["engine", "bare", "copier"]) { (side, counts) throws(DejaVuError) in
            let before = BenchClock.processTime
            let time: Double
            var doorbell: Double?
            switch side {
            case "engine":
                let trial = StreamTrial(
                    device: device, compute: NoCompute(device.layers), prompt: 16, steps: steps, options: streaming,
                    store: store, isEmulated: false, isTaskDriven: true)
                let outcome = try trial.run()
                time = outcome.steps.map(\.seconds).median
                doorbell = outcome.doorbell.map(\.seconds).median
            case "bare": time = (0..<steps).map { bare.copyLoop(position: $0).seconds }.median
            default: time = (0..<steps).map { bare.copyByPlan(position: $0).seconds }.median
            }
            let processor = (BenchClock.processTime - before).seconds / Double(steps)
            guard counts else { return }
            samples.add(time, to: "\(side).step")
            samples.add(processor, to: "\(side).processor")
            if let doorbell { samples.add(doorbell, to: "\(side).compute_thread") }
        }
        return samples
    }
}

/// The copies of one step into packed rows, without anything around them.
private final class BareStep {
    private let device: BenchDevice
    private let target: UnsafeMutableRawBufferPointer
    private let plan: TransferPlan

    init(_ device: BenchDevice) throws(DejaVuError) {
        self.device = device
        let packed = try KVLayout.packedRows(device.shape.row, layers: device.layers, positionCount: device.length)
        plan = try TransferPlan(from: device.layout, to: packed, layers: device.layers, positionCount: 1)
        target = .allocate(byteCount: packed.totalBytes * device.shape.batch, alignment: 4096)
        target.initializeMemory(as: UInt8.self, repeating: 1)
    }

    deinit { target.deallocate() }

    /// One `memcpy` for each K and each V of a layer and sequence: what is contiguous on both sides.
    func copyLoop(position: Int) -> TimeSpan {
        let from = BenchClock.now
        let (layers, length, plane) = (device.layers.count, device.length, device.shape.row.planeBytes)
        let memory = device.memory
        for sequence in 0..<device.shape.batch {
            let start = sequence * layers * length * 2 * plane
            for layer in 0..<layers {
                for part in 0..<2 {
                    let source = memory[2 * layer + part].baseAddress?.advanced(
                        by: (sequence * length + position) * plane)
                    let offset = start + ((layer * length + position) * 2 + part) * plane
                    if let source, let base = target.baseAddress {
                        (base + offset).copyMemory(from: source, byteCount: plane)
                    }
                }
            }
        }
        return BenchClock.now - from
    }

    /// The same by the library's plan.
    func copyByPlan(position: Int) -> TimeSpan {
        let from = BenchClock.now
        let bytes = target.count / device.shape.batch
        for sequence in 0..<device.shape.batch {
            RunCopier.copy(
                plan, source: sequence * device.length + position, destination: position, from: device.memory,
                to: [UnsafeMutableRawBufferPointer(rebasing: target[sequence * bytes..<(sequence + 1) * bytes])])
        }
        return BenchClock.now - from
    }
}
