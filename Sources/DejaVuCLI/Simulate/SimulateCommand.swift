import ArgumentParser
import DejaVuControl
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

            With --ledger the worlds are stores that stream KV to each other: the ledger and the \
            subscription book alone, which is faster and wilder.

            EXAMPLES
              dejavu simulate --seeds 10000
              dejavu simulate --ledger --seeds 100000
              dejavu simulate --first 4711 --seeds 1
              dejavu simulate --seeds 100000 --coverage --coverage-min 100
            """)

    @Option(help: "How many seeds.")
    var seeds: UInt64 = 1000
    @Option(help: "The first seed.")
    var first: UInt64 = 0
    @Option(help: "Threads; all processors if not given. Each seed runs the same on any.")
    var jobs = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    @Flag(help: "Stores that stream KV, instead of whole servers.")
    var ledger = false

    @Flag(help: "Print how often each kind of fault struck whom, doing what.")
    var coverage = false
    @Option(
        help: ArgumentHelp(
            "Fail if any kind of fault struck any role in any phase fewer times than this.",
            valueName: "count"))
    var coverageMin: Int?

    /// Enough to read.
    private static let failuresMax = 3

    mutating func validate() throws {
        if ledger, coverage || coverageMin != nil {
            throw ValidationError("--coverage and --coverage-min are for whole servers, not for --ledger")
        }
        if let coverageMin, coverageMin < 0 { throw ValidationError("--coverage-min must not be negative") }
        guard (1...1024).contains(jobs) else { throw ValidationError("--jobs must be 1 to 1024") }
        guard seeds > 0, first <= UInt64.max - seeds else { throw ValidationError("--seeds must be positive") }
    }

    func run() throws {
        let isTerminal = isatty(STDERR_FILENO) == 1
        let begun = clock()
        let range = first..<first + seeds
        let jobs = SeedJobs(seeds: range, threads: jobs) { [seeds] ended in
            if isTerminal {
                Diagnostics.write("\rsimulate: seed \(ended) of \(seeds)", to: STDERR_FILENO)
            }
        }
        let (seedCount, eventCount, failures): (Int, Int, [SimulationSweep.Failure])
        var reached: SimulationSweep.Result?
        if ledger {
            let result = try jobs.sum(from: LedgerSweep.Result()) {
                $0.failures.count >= Self.failuresMax
            } run: {
                LedgerSweep.run(seeds: $0)
            } add: {
                $0 += $1
            }
            (seedCount, eventCount, failures) = (result.seeds, result.events, result.failures)
        } else {
            let result = try jobs.sum(from: SimulationSweep.Result()) {
                $0.failures.count >= Self.failuresMax
            } run: {
                try SimulationSweep.run(seeds: $0)
            } add: {
                $0 += $1
            }
            (seedCount, eventCount, failures) = (result.seeds, result.events, result.failures)
            reached = result
        }
        if isTerminal { Diagnostics.write("\r\u{1B}[K", to: STDERR_FILENO) }
        let seconds = Double(clock() - begun) / Double(CLOCKS_PER_SEC)
        for failure in failures.sorted(by: { $0.seed < $1.seed }) {
            for line in failure.story { print(line) }
            print("seed \(failure.seed): \(failure.violation)\n")
        }
        let rate = Int(Double(eventCount) / max(seconds, 1e-9))
        print("\(seedCount) seeds, \(eventCount) events, \(rate) events per CPU second")
        if let reached { tellWhatWasReached(reached) }
        print("\(seedCount - failures.count) passed, \(failures.count) failed")
        let gaps = coverageMin.flatMap { least in reached?.coverage.gaps(least: least) } ?? []
        for gap in gaps { print("seldom: \(gap)") }
        if !failures.isEmpty || !gaps.isEmpty { throw ExitCode.failure }
    }

    private func tellWhatWasReached(_ result: SimulationSweep.Result) {
        if coverage { for line in result.coverage.table { print(line) } }
        let totals = result.totals
        print(
            "\(totals.workersLost) workers lost, \(totals.recoveries) recoveries, \(totals.takeovers) by replicas,"
                + " \(totals.positionsRunAgain) positions run again")
    }
}
