package import DejaVuControl
package import DejaVuCore
import FoundationEssentials
import Glibc
import Logging
import Synchronization

/// The first line of a recording: what the machine was made of.
package struct RecordingHeader: Hashable, Codable, Sendable {
    package let configuration: ControllerConfiguration
    package let term: Term
    package init(configuration: ControllerConfiguration, term: Term) {
        self.configuration = configuration
        self.term = term
    }
}

/// Writes a controller's life to a file, a line of JSON for each step, from a thread of its own. Prompts are in it, so
/// only the owner may read it.
///
/// A recording with a hole cannot be replayed: if the disk cannot follow, it ends, and says so in the log.
final class StepRecorder: Sendable {
    private struct State {
        var steps: [RecordedStep] = []
        var finishing = false
        var broken = false
    }

    private let state = Mutex(State())
    private let wakeUp = WakeUp()
    private let done = WakeUp()
    private let descriptor: Int32
    private let logger: Logger
    private static let stepsMax = 1 << 16

    /// - Throws: `.invalidArgument` if the file exists or cannot be made.
    init(path: String, header: RecordingHeader, logger: Logger) throws(DejaVuError) {
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        self.logger = logger
        guard descriptor >= 0 else {
            throw DejaVuError(
                .invalidArgument, "cannot record to \(path): \(String(cString: strerror(errno)))", subject: "record")
        }
        let encoder = JSONEncoder()
        guard Self.write(header, with: encoder, to: descriptor) else {
            close(descriptor)
            throw DejaVuError(.invalidArgument, "cannot write to \(path)", subject: "record")
        }
        do throws(DejaVuError) {
            try OSThread.start("recorder") { self.work() }
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    func record(_ step: RecordedStep) {
        let fits = state.withLock { state in
            guard !state.broken else { return true }
            guard state.steps.count < Self.stepsMax else {
                state.broken = true
                return false
            }
            state.steps.append(step)
            return true
        }
        if !fits { logger.error("the recording ends here: the disk is too slow") }
        wakeUp.signal()
    }

    /// Waits until what was recorded is written; at most as long as the disk takes for `stepsMax` steps.
    func finish() {
        state.withLock { $0.finishing = true }
        wakeUp.signal()
        done.wait()
    }

    private func work() {
        let encoder = JSONEncoder()
        while true {
            let (steps, finishing) = state.withLock { state in
                defer { state.steps = [] }
                return (state.steps, state.finishing)
            }
            for step in steps where !state.withLock({ $0.broken }) {
                guard Self.write(step, with: encoder, to: descriptor) else {
                    logger.error("the recording ends here: \(String(cString: strerror(errno)))")
                    state.withLock { $0.broken = true }
                    break
                }
            }
            if finishing { break }
            if steps.isEmpty { wakeUp.wait() }
        }
        done.signal()
    }

    private static func write(_ value: some Encodable, with encoder: JSONEncoder, to descriptor: Int32) -> Bool {
        guard var line = try? encoder.encode(value) else { return false }
        line.append(10)
        var rest = [UInt8](line)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
