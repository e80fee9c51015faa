package import DejaVuControl
package import DejaVuCore
package import DejaVuEngine
package import DejaVuLib

/// Makes the engine of a stage, on a thread of its own. Raises the counter with every layer that it loads and computes.
package typealias EngineFactory =
    @Sendable (StageAssignment, ProgressCounter) throws(DejaVuError) -> any StageEngine

/// What a worker tells its controller of the model that it has at hand.
package struct WorkerModel: Hashable, Sendable {
    package var model: ModelID
    package var layerCount: Int
    package var kvBytesPerPositionAndLayer: Int
    /// What the worker may hold in KV of its own stages.
    package var kvBytesMax: Int
    /// What of that its device holds at one time.
    package var deviceBytesMax: Int
    /// What it may hold for others, beside that.
    package var replicaBytesMax: Int
    package var numericClass: NumericClass

    package init(
        model: ModelID, layerCount: Int, kvBytesPerPositionAndLayer: Int, kvBytesMax: Int,
        replicaBytesMax: Int = 0, numericClass: NumericClass
    ) {
        self.model = model
        self.layerCount = layerCount
        self.kvBytesPerPositionAndLayer = kvBytesPerPositionAndLayer
        self.kvBytesMax = kvBytesMax
        deviceBytesMax = kvBytesMax
        self.replicaBytesMax = replicaBytesMax
        self.numericClass = numericClass
    }

    /// An emulated device of that much memory, as accounted for.
    package init(_ profile: ModelProfile, kvBytesMax: Int, replicaBytesMax: Int = 0) {
        self.init(
            model: profile.model, layerCount: profile.layerCount,
            kvBytesPerPositionAndLayer: profile.kvBytesPerPositionAndLayer, kvBytesMax: kvBytesMax,
            replicaBytesMax: replicaBytesMax,
            numericClass: profile.numericClass)
    }
}

/// Where a worker waits for the stage before it.
package enum PeerListening: Hashable, Sendable {
    /// A unix socket in this directory, named after the process.
    case directory(String)
    /// Any free port of this host; nil takes the address that the link to the controller uses.
    case host(String?)
}

/// The wires of an emulated machine to other workers. Activations overtake frames of KV and are few beside them: they
/// have a wire of their own, of the same rate.
package struct EmulatedWires: Sendable {
    let activations: LinkPace
    let bulk: LinkPace

    /// nil if the profile's links take no time. Bytes are as few as the profile's scale makes them.
    package init?(_ profile: ModelProfile) {
        guard profile.timeScale > 0, profile.linkBytesPerSecond > 0 || profile.linkSeconds > 0 else { return nil }
        let rate = profile.linkBytesPerSecond / Double(profile.byteScale) / profile.timeScale
        let delay = TimeSpan.seconds(min(profile.linkSeconds * profile.timeScale, 1e6))
        activations = LinkPace(bytesPerSecond: rate, delay: delay)
        bulk = LinkPace(bytesPerSecond: rate, delay: delay)
    }
}

/// How a worker process is to behave.
package struct WorkerOptions: Sendable {
    package var controller: LinkAddress
    package var key: ClusterKey
    /// For people.
    package var name: String
    package var peerListening: PeerListening
    /// How links to other machines are protected.
    package var encryption = LinkEncryption.ownCertificates
    /// How long the worker lives without a controller, and how long it tries to reach the first one.
    package var orphanGrace: TimeSpan = .seconds(60)
    package var heartbeatInterval: TimeSpan = .milliseconds(100)
    package var linkLimits = LinkLimits()
    /// nil, the default, where the machine's own network is meant.
    package var wires: EmulatedWires?
    /// Where the worker hears which faults to bring upon its own links; nil, the default, for none. For chaos alone.
    package var faultDirectory: String?
    /// A token whose pass the process does not survive; nil, the default, for none. For chaos alone.
    package var poisonToken: TokenID?

    package init(controller: LinkAddress, key: ClusterKey, name: String, peerListening: PeerListening) {
        self.controller = controller
        self.key = key
        self.name = name
        self.peerListening = peerListening
    }

    /// The certificate for links to other machines, if there can be any.
    func security() throws(DejaVuError) -> LinkSecurity {
        if case .directory = peerListening, controller.isLocal { return .localOnly }
        return try encryption.security()
    }

    /// - Throws: `.invalidArgument` with what is wrong.
    package func validate() throws(DejaVuError) {
        guard orphanGrace > .zero, heartbeatInterval > .zero else {
            throw DejaVuError(.invalidArgument, "a worker's times must be positive")
        }
    }
}

/// How a worker's life ended.
package struct WorkerExit: Hashable, Sendable {
    package let code: Int32
    package let reason: String
    package init(code: Int32, reason: String) {
        self.code = code
        self.reason = reason
    }
}
