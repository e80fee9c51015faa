import ArgumentParser
import DejaVuCore
import DejaVuSimulation
import Glibc

/// Many random worlds in virtual time, with every invariant checked at every event.
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Run the control code through random worlds in virtual time and check the invariants.",
        discussion: """
            Each seed makes a topology, a load and faults of its own. A seed that fails prints its \
            story; the same seed is the same run, on every machine.

            EXAMPLES
              dejavu simulate --seeds 10000
              dejavu simulate --first 4711 --seeds 1
            """)

    @Option(help: "How many seeds.")
    var seeds: UInt64 = 1000
    @Option(help: "The first seed.")
    var first: UInt64 = 0

    mutating func validate() throws {
        guard seeds > 0, first <= UInt64.max - seeds else { throw ValidationError("--seeds must be positive") }
    }

    func run() throws {
        let isTerminal = isatty(STDERR_FILENO) == 1
        let begun = clock()
        let result = try SimulationSweep.run(seeds: first..<first + seeds) { seed in
            if isTerminal, seed % 100 == 0 {
                Diagnostics.write("\rsimulate: seed \(seed - first) of \(seeds)", to: STDERR_FILENO)
            }
        }
        if isTerminal { Diagnostics.write("\r\u{1B}[K", to: STDERR_FILENO) }
        let seconds = Double(clock() - begun) / Double(CLOCKS_PER_SEC)
        for failure in result.failures {
            for line in failure.story { print(line) }
            print("seed \(failure.seed): \(failure.violation)\n")
        }
        let rate = Int(Double(result.events) / max(seconds, 1e-9))
        print("\(result.seeds) seeds, \(result.events) events, \(rate) events per CPU second")
        print("\(result.seeds - result.failures.count) passed, \(result.failures.count) failed")
        if !result.failures.isEmpty { throw ExitCode.failure }
    }
}
