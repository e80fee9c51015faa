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
    /// How well an emulation has kept its times.
    var lateness: Lateness { get }
}

/// Passes of an emulated device that ended too late.
package struct Lateness: Hashable, Sendable {
    package var passes = 0
    /// Those that ended later than 2% of their time after it.
    package var latePasses = 0
    /// By how much these were late, together.
    package var lateTime = TimeSpan.zero
    /// What all passes were to take.
    package var passTime = TimeSpan.zero

    package init() {}

    /// A pass was to take so long, and ended so much after that.
    package mutating func add(pass time: TimeSpan, lateBy late: TimeSpan) {
        passes += 1
        passTime = passTime + time
        guard late.nanoseconds * 50 > time.nanoseconds else { return }
        latePasses += 1
        lateTime = lateTime + late
    }
}

/// Computes nothing and takes the time that a profile says. Deadlines are absolute: each pass begins when the one
/// before it should have ended, plus what the thread did in between.
final class EmulatedCompute: StreamCompute {
    private let profile: DeviceProfile
    private let layers: LayerRange
    private let batch: Int
    private var start = Instant.zero
    private var due = Instant.zero
    private(set) var lateness = Lateness()

    init(_ profile: DeviceProfile, layers: LayerRange, batch: Int) {
        self.profile = profile
        self.layers = layers
        self.batch = batch
    }

    var elapsed: TimeSpan { due - start }

    func begin() {
        start = BenchClock.now
        due = start
        lateness = Lateness()
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
        lateness.add(pass: time, lateBy: BenchClock.now - due)
    }
}

/// Rows that are there at once.
final class NoCompute: StreamCompute {
    private let layers: LayerRange
    private var start = Instant.zero
    let lateness = Lateness()
    init(_ layers: LayerRange) { self.layers = layers }
    var elapsed: TimeSpan { BenchClock.now - start }
    func begin() { start = BenchClock.now }
    func prompt(_ length: Int, told: (LayerRange) throws(DejaVuError) -> Void) throws(DejaVuError) {
        try told(layers)
    }
    func step(at position: Int) {}
    func spent(_ time: TimeSpan) {}
}
