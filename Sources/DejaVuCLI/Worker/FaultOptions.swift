import ArgumentParser
import DejaVuCore

/// What `dejavu bench chaos` needs of the server that it starts for itself; hidden from everybody else.
struct FaultOptions: ParsableArguments {
    /// See `WorkerOptions.faultDirectory`.
    @Option(help: .hidden)
    var linkFaults: String?
    /// See `WorkerOptions.poisonToken`.
    @Option(help: .hidden)
    var poisonToken: TokenID?
    /// The pause before a worker that ended is started again, in seconds. It is a server's alone.
    @Option(help: .hidden)
    var restartDelay: Double?

    /// The arguments that make a worker's options the same.
    var arguments: [String] {
        (linkFaults.map { ["--link-faults", $0] } ?? []) + (poisonToken.map { ["--poison-token", "\($0)"] } ?? [])
    }
}
