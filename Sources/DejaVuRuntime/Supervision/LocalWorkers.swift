package import DejaVuCore

/// The workers that a controller starts on its own machine, and how often it starts them again.
package struct LocalWorkers: Sendable {
    package var count: Int
    /// The program; by default the one that runs.
    package var executable = "/proc/self/exe"
    /// Its arguments, its name first: they must lead to `LocalWorkerBrief.receive`.
    package var arguments: [String]
    /// How long they live without a controller, in case that another one takes them over.
    package var orphanGrace: TimeSpan = .seconds(60)
    /// The pause before a worker that ended is started again; doubles up to the maximum until one lives for `goodLife`.
    package var restartDelayMin: TimeSpan = .seconds(1)
    package var restartDelayMax: TimeSpan = .seconds(60)
    package var goodLife: TimeSpan = .seconds(30)
    /// How long workers that were told to end may take before they are killed.
    package var shutdownTime: TimeSpan = .seconds(5)

    package init(count: Int, arguments: [String]) {
        self.count = count
        self.arguments = arguments
    }

    func validate() throws(DejaVuError) {
        guard (0...1024).contains(count), !arguments.isEmpty, orphanGrace > .zero, restartDelayMin > .zero,
            restartDelayMax >= restartDelayMin, shutdownTime > .zero
        else { throw DejaVuError(.invalidArgument, "the settings of local workers make no sense") }
    }
}
