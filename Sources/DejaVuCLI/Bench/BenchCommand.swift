import ArgumentParser

/// The benchmarks.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a server, what it does under faults, the compute kernels or KV streaming.",
        subcommands: [
            BenchServeCommand.self, BenchChaosCommand.self, BenchKernelsCommand.self, BenchStreamCommand.self,
        ])
}
