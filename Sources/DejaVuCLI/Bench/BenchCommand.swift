import ArgumentParser

/// The benchmarks.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a server, the compute kernels or KV streaming.",
        subcommands: [BenchServeCommand.self, BenchKernelsCommand.self, BenchStreamCommand.self])
}
