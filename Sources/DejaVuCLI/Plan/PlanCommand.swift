import ArgumentParser
import DejaVuBench
import DejaVuCore
import DejaVuPlot
import DejaVuSimulation

/// Which topology a load asks for, and why.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Find the best topology for a load, with its reasons.",
        discussion: """
            Simulates every way to put the machines together, with and without swapping, and prints the `serve` line \
            of the simplest among the best. `--method paper` uses the formulas of the paper instead.

            A profile is a file of `dejavu profile`, or one of opt-13b, opt-66b and bloom-176b: the paper's models on \
            its machines.

            EXAMPLES
              dejavu plan opt-66b --machines 4 --prompt-tokens 1000 --output-tokens 84
              dejavu plan opt-66b --machines 8 --output-tokens 50 --method paper
              dejavu plan opt-66b --machines 4 --rate 1 --output-tokens lognormal:60,0.8 --svg plan.svg
              dejavu plan mine.json --machines 2 --trace azure.csv --json
              dejavu plan opt-66b --topology 1+3 --rate 1 --batching paper:8
            """)

    enum Method: String, CaseIterable, ExpressibleByArgument { case simulate, paper }

    @Argument(help: "A profile: its name or its file.", completion: .file(extensions: ["json"]))
    var profile: String
    @Option(help: ArgumentHelp("Machines to share out, one stage each.", valueName: "count"))
    var machines = 4
    @Option(
        help: ArgumentHelp(
            "Simulate this one alone, whatever --machines says: 4 stages, 2x2 pipelines of stages, or 1+3 prompt and "
                + "token stages.", valueName: "shape"))
    var topology: TopologyChoice?
    @Option(help: "simulate, or paper for the formulas of the paper.")
    var method: Method = .simulate
    @OptionGroup(title: "Load") var load: PlanLoadOptions
    @OptionGroup(title: "Changes to the profile") var changes: ProfileChangeOptions
    @Option(
        help: ArgumentHelp(
            "continuous, whole (prompts are not cut), or paper:N for whole microbatches of N requests.",
            valueName: "kind"))
    var batching: BatchingChoice = .continuous
    @Option(
        help: ArgumentHelp("--method paper: how much longer prompts take while they stream.", valueName: "factor"))
    var promptSlowdown = 1.0
    @Flag(help: "Print JSON.")
    var json = false
    @Option(help: ArgumentHelp("Write a picture of all topologies.", valueName: "file"), completion: .file())
    var svg: String?
    @Option(
        help: ArgumentHelp("Write the chosen topology's run for chrome://tracing or Perfetto.", valueName: "file"),
        completion: .file())
    var traceOut: String?

    mutating func validate() throws {
        guard (1...64).contains(machines) else { throw ValidationError("--machines must be 1 to 64") }
        guard promptSlowdown >= 1, promptSlowdown.isFinite else {
            throw ValidationError("--prompt-slowdown must be at least 1")
        }
        if method == .paper, svg != nil || traceOut != nil {
            throw ValidationError("--svg and --trace-out show simulations, which --method paper does not make")
        }
        if method == .paper, topology != nil {
            throw ValidationError("--topology is for simulations; --method paper chooses a split itself")
        }
        try load.check()
        try changes.check()
    }

    func run() async throws {
        let profile = try changes.applied(to: try ProfileFile.load(profile))
        let jobs = try await load.jobs(contextTokens: profile.contextLength)
        switch method {
        case .paper: try runPaper(profile, jobs)
        case .simulate: try runSimulation(profile, jobs)
        }
    }

    private func runPaper(_ profile: ModelProfile, _ jobs: [PerformanceScenario.Job]) throws {
        let report = try PaperPlanReport(
            profile, machines: machines, jobs: jobs, sequences: batching.paperSequences ?? 8,
            promptSlowdown: promptSlowdown)
        print(json ? try PlanText.json(report) : report.text, terminator: "")
    }

    private func runSimulation(_ profile: ModelProfile, _ jobs: [PerformanceScenario.Job]) throws {
        var planner = try Planner(
            profile: profile, machineCount: topology?.topology.machineCount ?? machines, jobs: jobs,
            objective: load.isOpenLoop ? .latency : .throughput)
        planner.only = topology?.topology
        planner.batching = batching.batching
        let line = ProgressLine()
        let plan = planner.plan { done, count in line.show("plan: topology \(done + 1) of \(count)") }
        let gains = planner.gains(outputCounts: PlanReport.outputCounts(profile, jobs)) { done, count in
            line.show("plan: break-even, \(done + 1) of \(count)")
        }
        line.clear()
        let report = PlanReport(planner, plan, gains)
        if let svg { try OutputFile.write(report.figure.svg(), to: svg) }
        if let traceOut { try writeTrace(planner, plan, to: traceOut) }
        print(json ? try PlanText.json(report) : report.text, terminator: "")
        if plan.choice == nil { throw ExitCode.failure }
    }

    private func writeTrace(_ planner: Planner, _ plan: Plan, to path: String) throws {
        guard let choice = plan.choice else { return }
        var scenario = PerformanceScenario(
            topology: choice.topology, batching: planner.batching, costs: .profile(planner.profile),
            jobs: planner.jobs)
        scenario.swaps = choice.swaps
        scenario.keepsTrace = true
        guard let trace = try scenario.run().trace else { preconditionFailure("the trace was asked for") }
        try OutputFile.write(trace.chromeText, to: path)
    }
}
