package import DejaVuControl
package import DejaVuCore
package import DejaVuLib

/// How a controller process is to run.
package struct ControllerOptions: Sendable {
    package var configuration: ControllerConfiguration
    package var stateDirectory: String
    /// Remove the state directory when the controller has stopped and all its workers with it, if it made it itself.
    package var isStateTemporary = false
    /// The cluster's key; nil makes one that only local workers learn.
    package var key: ClusterKey?
    /// Where workers of other machines join; nil for none.
    package var clusterListen: LinkAddress?
    /// How links to other machines are protected.
    package var encryption = LinkEncryption.ownCertificates
    package var localWorkers: LocalWorkers
    /// Write every event and action to this file, prompts included.
    package var recordPath: String?
    package var linkLimits = LinkLimits()
    /// How long to wait for the workers of a controller that was killed.
    package var adoptionTime: TimeSpan = .seconds(2)
    /// How long requests that are found at them may take from then on.
    package var restoredTime: TimeSpan = .seconds(1800)

    package init(configuration: ControllerConfiguration, stateDirectory: String, localWorkers: LocalWorkers) {
        self.configuration = configuration
        self.stateDirectory = stateDirectory
        self.localWorkers = localWorkers
    }

    /// Whom to wait for of the workers of a controller that was killed: local ones that live, and all others.
    func adoption(of workers: [StateDirectory.KnownWorker]) -> (
        expected: [Incarnation], until: Instant, deadline: Instant
    ) {
        let living = workers.filter { $0.process?.isAlive ?? true }
        let now = MonotonicClock.now
        return (living.map(\.incarnation), now + adoptionTime, now + restoredTime)
    }

    /// - Throws: `.invalidArgument` with what is wrong.
    package func validate() throws(DejaVuError) {
        try configuration.validate()
        try localWorkers.validate()
        guard let clusterListen else { return }
        guard case .tcp(let host, _) = clusterListen else {
            throw DejaVuError(
                .invalidArgument, "workers join at HOST:PORT, not at \(clusterListen)", subject: "cluster-listen")
        }
        guard host != "0.0.0.0", host != "::" else {
            throw DejaVuError(
                .invalidArgument,
                "workers must reach each other, so \(clusterListen) will not do: name this machine's address",
                subject: "cluster-listen")
        }
        guard key != nil else {
            throw DejaVuError(
                .invalidArgument, "workers that join at \(clusterListen) must prove a key: give --cluster-key-file",
                subject: "cluster-key-file")
        }
    }
}
