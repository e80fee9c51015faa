package import DejaVuCore

/// What computes rows while they are streamed: an emulated device, or a real engine. Confined to one thread, on which
/// it also tells of the rows.
package protocol StreamCompute: AnyObject {
    /// Forgets everything: the clock begins.
    func begin() throws(DejaVuError)
    /// Computes the prompts of the whole batch, and tells of layers as they become ready.
    func prompt(_ length: Int, told: (LayerRange) throws(DejaVuError) -> Void) throws(DejaVuError)
    /// Computes one token of each sequence.
    func step(at position: Int) throws(DejaVuError)
    /// The thread did something else for so long.
    func spent(_ time: TimeSpan)
    /// Since the beginning.
    var elapsed: TimeSpan { get }
    /// Passes that ended later than 2% of their time after it, of so many.
    var lateness: (late: Int, passes: Int) { get }
}

/// Computes nothing and takes the time that a profile says. Deadlines are absolute: each pass begins when the one
/// before it should have ended, plus what the thread did in between.
final class EmulatedCompute: StreamCompute {
    private let profile: DeviceProfile
    private let layers: LayerRange
    private let batch: Int
    private var start = Instant.zero
    private var due = Instant.zero
    private(set) var lateness = (late: 0, passes: 0)

    init(_ profile: DeviceProfile, layers: LayerRange, batch: Int) {
        self.profile = profile
        self.layers = layers
        self.batch = batch
    }

    var elapsed: TimeSpan { due - start }

    func begin() {
        start = BenchClock.now
        due = start
        lateness = (0, 0)
    }

    func prompt(_ length: Int, told: (LayerRange) throws(DejaVuError) -> Void) throws(DejaVuError) {
        let layerTime = TimeSpan.seconds(profile.promptSeconds(tokens: batch * length) / Double(layers.count))
        for layer in layers.indices {
            compute(layerTime)
            try told(LayerRange(layer, layer + 1))
        }
    }

    func step(at position: Int) { compute(.seconds(profile.stepSeconds)) }

    func spent(_ time: TimeSpan) { due = due + time }

    private func compute(_ time: TimeSpan) {
        due = due + time
        BenchClock.sleep(until: due)
        lateness.passes += 1
        if (BenchClock.now - due).nanoseconds * 50 > time.nanoseconds { lateness.late += 1 }
    }
}

/// Rows that are there at once.
final class NoCompute: StreamCompute {
    private let layers: LayerRange
    private var start = Instant.zero
    let lateness = (late: 0, passes: 0)
    init(_ layers: LayerRange) { self.layers = layers }
    var elapsed: TimeSpan { BenchClock.now - start }
    func begin() { start = BenchClock.now }
    func prompt(_ length: Int, told: (LayerRange) throws(DejaVuError) -> Void) throws(DejaVuError) {
        try told(layers)
    }
    func step(at position: Int) {}
    func spent(_ time: TimeSpan) {}
}
