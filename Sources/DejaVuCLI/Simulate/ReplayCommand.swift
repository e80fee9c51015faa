import ArgumentParser
import DejaVuControl
import DejaVuCore
import DejaVuRuntime
import Foundation

/// Runs a recorded life of a controller through the control machine again.
struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Run a recorded log of events through the control machine and compare its actions.",
        discussion: """
            `dejavu serve --record FILE` writes such a log. A machine of the same version takes the same actions; the \
            first that differs is printed, and the command ends with 1.

            EXAMPLES
              dejavu replay run.log
            """)

    @Argument(help: "The log.", completion: .file())
    var log: String

    func run() throws {
        guard let data = FileManager.default.contents(atPath: log) else {
            throw DejaVuError(.notFound, "cannot read \(log)")
        }
        let decoder = JSONDecoder()
        let lines = data.split(separator: UInt8(ascii: "\n"))
        guard let first = lines.first else { throw DejaVuError(.invalidFile, "\(log) is empty") }
        let header = try decode(RecordingHeader.self, first, line: 1, decoder)
        var steps: [RecordedStep] = []
        for (index, line) in lines.dropFirst().enumerated() {
            steps.append(try decode(RecordedStep.self, line, line: index + 2, decoder))
        }
        let difference = try RecordedStep.firstDifference(
            in: steps, configuration: header.configuration, term: header.term)
        guard let difference else {
            print("\(steps.count) steps, all actions equal")
            return
        }
        let step = steps[difference.index]
        print("step \(difference.index + 1) of \(steps.count), \(step.at), differs")
        print("event:    \(step.event)")
        print("recorded: \(step.actions)")
        print("now:      \(difference.actions)")
        throw ExitCode.failure
    }

    private func decode<T: Decodable>(
        _ type: T.Type, _ line: Data.SubSequence, line number: Int, _ decoder: JSONDecoder
    ) throws(DejaVuError) -> T {
        do { return try decoder.decode(type, from: Data(line)) } catch {
            throw DejaVuError(.invalidFile, "\(log):\(number): no line of a recording (\(error))")
        }
    }
}
