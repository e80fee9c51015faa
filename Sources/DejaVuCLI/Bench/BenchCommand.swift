import ArgumentParser

/// The benchmarks.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a server or the compute kernels.",
        subcommands: [BenchServeCommand.self, BenchKernelsCommand.self])
}
