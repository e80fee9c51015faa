package import DejaVuCore
import DejaVuKV
import DejaVuLib

/// Everything is streamed while a batch computes, and no pipeline hides it: how much longer does it take?
package enum StreamOverhead {
    enum Variant: String, CaseIterable, Sendable { case none, host, disk, tcp }

    /// An emulated OPT-13B on one device. The destinations are real, with bytes at the scale.
    package static func emulated(_ options: StreamBenchOptions) throws(DejaVuError) -> StreamSamples {
        let model = StreamAblation.Model.opt13B
        let shape = try model.shape(byteScale: 16)
        let compute = EmulatedCompute(model.profile, layers: shape.layers, batch: shape.batch)
        return try measure("overhead-opt-13b", shape, model.profile, compute, "emulated", options)
    }

    /// A real model on this machine's processors, which streaming shares.
    package static func real(
        _ compute: any StreamCompute, _ shape: StreamShape, computedBy: String, _ options: StreamBenchOptions
    ) throws(DejaVuError) -> StreamSamples {
        try measure("overhead-smollm2", shape, nil, compute, computedBy, options)
    }

    private static func measure(
        _ part: String, _ shape: StreamShape, _ profile: DeviceProfile?, _ compute: any StreamCompute,
        _ computedBy: String, _ options: StreamBenchOptions
    ) throws(DejaVuError) -> StreamSamples {
        let (prompt, steps) = options.isQuick ? (64, 40) : (500, 500)
        let device = try BenchDevice(shape, length: 512 + steps, profile: profile)
        let host = try StreamAblation.hostStore(device, sequences: shape.batch)
        let peer = try TCPPeer(host)
        defer { peer.close() }
        let disk = try BenchDisk(device, sequences: shape.batch, in: options.directory)
        defer { disk.remove() }
        var samples = StreamSamples(part)
        samples.settings = [
            "model": shape.name, "batch": "\(shape.batch)", "prompt": "\(prompt)", "steps": "\(steps)",
            "byte_scale": "\(shape.byteScale)", "compute": computedBy,
        ]
        try options.interleave(Variant.allCases) { (variant, counts) throws(DejaVuError) in
            let store: (any KVStore)? =
                switch variant {
                case .none: nil
                case .host: host
                case .disk: disk.store
                case .tcp: peer.store
                }
            let trial = StreamTrial(
                device: device, compute: compute, prompt: prompt, steps: steps,
                options: store == nil ? nil : StreamOptions(), store: store, isEmulated: profile != nil)
            let outcome = try trial.run()
            guard counts else { return }
            samples.add(outcome.total.seconds, to: "\(variant.rawValue).total")
            samples.add(outcome.steps.map(\.seconds).median, to: "\(variant.rawValue).step")
            if variant != .none {
                samples.add(outcome.doorbell.map(\.seconds).median, to: "\(variant.rawValue).compute_thread")
            }
            samples.add(outcome, of: variant.rawValue)
        }
        return samples
    }
}
