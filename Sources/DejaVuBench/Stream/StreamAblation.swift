package import DejaVuCore
import DejaVuKV
import DejaVuLib
import Synchronization

/// The paper's ablation: naive streaming, then one optimisation after the other, against no streaming.
package enum StreamAblation {
    enum Variant: String, CaseIterable, Sendable {
        case none, naive, buffered, layered, overlapped

        var options: StreamOptions? {
            var options = StreamOptions()
            options.frameTimeMax = .seconds(Int64(300))
            switch self {
            case .none: return nil
            case .naive:
                options.bufferedCopies = false
                options.runMerging = false
                // A frame of any size: what is contiguous is not cut.
                options.frameBytesMax = 1 << 30
                options.bytesInFlightMax = 4 << 30
                fallthrough
            case .buffered:
                options.layerByLayer = false
                fallthrough
            case .layered: options.tokenOverlap = false
            case .overlapped: break
            }
            return options
        }
    }

    package enum Model: String, CaseIterable, Sendable {
        case opt13B = "opt-13b"
        case opt66B = "opt-66b"

        func shape(byteScale: Int) throws(DejaVuError) -> StreamShape {
            switch self {
            case .opt13B: try .opt("OPT-13B", layers: 40, heads: 40, batch: 8, byteScale: byteScale)
            case .opt66B: try .opt("OPT-66B", layers: 64, heads: 72, batch: 8, byteScale: byteScale)
            }
        }
        var profile: DeviceProfile { self == .opt13B ? .opt13B : .opt66B }
    }

    /// An emulated device whose rows go over an emulated link into host memory.
    ///
    /// Times of a prompt pass and of a token step are put together to those of a request of 500 + 500 tokens, since the
    /// naive way would take hours for it.
    package static func emulated(_ model: Model, _ options: StreamBenchOptions) throws(DejaVuError) -> StreamSamples {
        let shape = try model.shape(byteScale: 16)
        // Long enough for the prompt's rows to get over the link while steps compute.
        let steps = model == .opt13B ? 64 : 24
        // Each takes seconds.
        let naiveSteps = model == .opt13B ? 2 : 1
        let device = try BenchDevice(shape, length: 512 + steps, profile: model.profile)
        let store = LinkedStore(
            try hostStore(device, sequences: shape.batch), byteScale: shape.byteScale,
            bytesPerSecond: model.profile.linkBytesPerSecond)
        let compute = EmulatedCompute(model.profile, layers: shape.layers, batch: shape.batch)
        var samples = StreamSamples("ablation-\(model.rawValue)")
        samples.settings = try settings(device, model.profile, steps: "\(steps), naive \(naiveSteps)")
        try options.interleave(Variant.allCases) { (variant, counts) throws(DejaVuError) in
            let trial = StreamTrial(
                device: device, compute: compute, prompt: 500, steps: variant == .naive ? naiveSteps : steps,
                options: variant.options, store: store, isEmulated: true)
            let outcome = try trial.run()
            guard counts else { return }
            samples.add(outcome, of: variant)
            if variant == .naive {
                samples.add(try lowRequest(outcome, device, model.profile), to: "naive_low.request")
            }
        }
        return samples
    }

    /// What the naive way would take if a launch took the least that is known: computed, not measured.
    private static func lowRequest(
        _ outcome: StreamTrial.Outcome, _ device: BenchDevice, _ profile: DeviceProfile
    ) throws(DejaVuError) -> Double {
        let saved = profile.launchSeconds - DeviceProfile.launchSecondsLow
        let prompt = try device.naiveRunCount(positions: 500) * device.shape.batch
        let step = try device.naiveRunCount(positions: 1) * device.shape.batch
        let request = outcome.prompt.seconds + 500 * outcome.steps.map(\.seconds).median
        return request - saved * Double(prompt + 500 * step)
    }

    /// The same with a real model's compute, which shares its processors with streaming; the link is real TCP.
    package static func real(
        _ compute: any StreamCompute, _ shape: StreamShape, computedBy: String, _ options: StreamBenchOptions
    ) throws(DejaVuError) -> StreamSamples {
        let (prompt, steps) = options.isQuick ? (64, 16) : (500, 60)
        let device = try BenchDevice(shape, length: 512 + steps, profile: nil)
        let peer = try TCPPeer(try hostStore(device, sequences: shape.batch))
        defer { peer.close() }
        var samples = StreamSamples("ablation-smollm2")
        samples.settings = [
            "model": shape.name, "batch": "\(shape.batch)", "prompt": "\(prompt)", "steps": "\(steps)",
            "runs_per_step": "\(try device.naiveRunCount(positions: 1) * shape.batch)", "compute": computedBy,
            "link": "TCP over loopback",
        ]
        try options.interleave(Variant.allCases) { (variant, counts) throws(DejaVuError) in
            let trial = StreamTrial(
                device: device, compute: compute, prompt: prompt, steps: steps, options: variant.options,
                store: peer.store, isEmulated: false)
            let outcome = try trial.run()
            if counts { samples.add(outcome, of: variant) }
        }
        return samples
    }

    private static func settings(
        _ device: BenchDevice, _ profile: DeviceProfile, steps: String
    ) throws(DejaVuError) -> [String: String] {
        let batch = device.shape.batch
        return [
            "model": device.shape.name, "batch": "\(batch)", "prompt": "500", "steps": steps,
            "byte_scale": "\(device.shape.byteScale)",
            "runs_per_step": "\(try device.naiveRunCount(positions: 1) * batch)",
            "runs_per_prompt": "\(try device.naiveRunCount(positions: 500) * batch)",
            "real_bytes_per_step": "\(device.rowBytes * device.layers.count * batch * device.shape.byteScale)",
            "launch_seconds": "\(profile.launchSeconds): DualPath, arXiv 2602.21548, section 5.2 (5 to 7 us)",
            "launch_seconds_low": "\(DeviceProfile.launchSecondsLow): H20, taco-project/FlexKV, pull request 193",
            "step_seconds": "\(profile.stepSeconds): fp16 weights once at 2039 GB/s",
            "prompt_seconds": "\(profile.promptSeconds(tokens: 500 * batch)): 312 TFLOPS",
            "host_bytes_per_second": "\(profile.hostBytesPerSecond)",
            "link_bytes_per_second": "\(profile.linkBytesPerSecond)",
        ]
    }

    /// Host memory for a whole batch.
    static func hostStore(_ device: BenchDevice, sequences: Int) throws(DejaVuError) -> HostStore {
        let layerBytes = device.length * device.rowBytes + (8 << 10)
        var options = HostStore.Options(budget: layerBytes * device.layers.count * (sequences + 1))
        options.prefault = true
        return try HostStore(
            name: "host", layers: device.layers, rowBytes: device.rowBytes, numericClass: device.numericClass,
            options: options)
    }
}

extension StreamSamples {
    /// Times of one run in seconds: the whole, its prompt and its median step, and a request of 500 + 500 tokens made
    /// of these.
    mutating func add(_ outcome: StreamTrial.Outcome, of variant: StreamAblation.Variant) {
        let step = outcome.steps.map(\.seconds).median
        add(outcome.prompt.seconds, to: "\(variant.rawValue).prompt")
        add(step, to: "\(variant.rawValue).step")
        add(outcome.total.seconds, to: "\(variant.rawValue).total")
        add(outcome.prompt.seconds + 500 * step, to: "\(variant.rawValue).request")
        if outcome.doorbell.contains(where: { $0 > .zero }) {
            add(outcome.doorbell.map(\.seconds).median, to: "\(variant.rawValue).compute_thread")
        }
        add(outcome, of: variant.rawValue)
    }
}
