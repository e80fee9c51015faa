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

/// Wake-ups of an emulated device that came too late: after each layer of a prompt, and after each step.
package struct Lateness: Hashable, Sendable {
    package var wakeUps = 0
    /// Those that came later than 2% of their pass after they were due.
    package var lateWakeUps = 0
    /// By how much these were late, together.
    package var lateTime = TimeSpan.zero
    /// What was waited for.
    package var waitedTime = TimeSpan.zero

    package init() {}

    /// A part of a pass was waited for, and the wake-up came so much after its end.
    package mutating func add(_ part: TimeSpan, ofPass pass: TimeSpan, lateBy late: TimeSpan) {
        wakeUps += 1
        waitedTime = waitedTime + part
        guard late.nanoseconds * 50 > pass.nanoseconds else { return }
        lateWakeUps += 1
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
        let pass = profile.promptSeconds(tokens: batch * length)
        for layer in layers.indices {
            compute(.seconds(pass / Double(layers.count)), ofPass: .seconds(pass))
            try told(LayerRange(layer, layer + 1))
        }
    }

    func step(at position: Int) { compute(.seconds(profile.stepSeconds), ofPass: .seconds(profile.stepSeconds)) }

    func spent(_ time: TimeSpan) { due = due + time }

    private func compute(_ part: TimeSpan, ofPass pass: TimeSpan) {
        due = due + part
        BenchClock.sleep(until: due)
        lateness.add(part, ofPass: pass, lateBy: BenchClock.now - due)
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
