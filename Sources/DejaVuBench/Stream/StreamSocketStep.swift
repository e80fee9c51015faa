package import DejaVuCore
import DejaVuKV
import DejaVuLib

/// One step of a batch over real TCP, with all its real bytes: each contiguous run with a `send` of its own
/// (TCP_NODELAY, nothing put together), against the library's way. Both are what this machine takes.
package enum StreamSocketStep {
    package static func measure(
        _ model: StreamAblation.Model, _ options: StreamBenchOptions
    ) throws(DejaVuError) -> StreamSamples {
        let shape = try model.shape(byteScale: 1)
        let steps = options.isQuick ? 2 : 4
        let device = try BenchDevice(shape, length: 8, profile: nil)
        let peer = try TCPPeer(try StreamAblation.hostStore(device, sequences: shape.batch))
        defer { peer.close() }
        let socket = try BareSocket()
        let stepBytes = shape.row.rowBytes * shape.layerCount * shape.batch
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: stepBytes, alignment: 4096)
        target.initializeMemory(as: UInt8.self, repeating: 1)
        defer { target.deallocate() }
        let naive = try TransferPlan(naiveFrom: device.layout, layers: device.layers, positionCount: 1)
        var samples = StreamSamples("tcp-\(model.rawValue)")
        samples.settings = [
            "model": shape.name, "batch": "\(shape.batch)", "byte_scale": "1", "bytes_per_step": "\(stepBytes)",
            "runs_per_step": "\(naive.runCount * shape.batch)", "link": "TCP over loopback, TCP_NODELAY",
        ]
        var streaming = StreamOptions()
        streaming.tokenOverlap = false
        try options.interleave(["naive", "buffered"]) { (side, counts) throws(DejaVuError) in
            var times: [Double] = []
            if side == "naive" {
                for position in 0..<steps {
                    let from = BenchClock.now
                    try socket.transfer(to: target, checks: true) { send in
                        for slot in 0..<shape.batch {
                            for run in naive.runs(source: slot * device.length + position, destination: 0) {
                                let bytes = device.memory[run.sourceRegion]
                                send(
                                    UnsafeRawBufferPointer(
                                        rebasing: bytes[run.sourceOffset..<run.sourceOffset + run.bytes]))
                            }
                        }
                    }
                    times.append((BenchClock.now - from).seconds)
                }
            } else {
                let trial = StreamTrial(
                    device: device, compute: NoCompute(device.layers), prompt: 1, steps: steps, options: streaming,
                    store: peer.store, isEmulated: false)
                times = try trial.run().steps.map(\.seconds)
            }
            if counts { samples.add(times.median, to: "\(side).step") }
        }
        return samples
    }
}
