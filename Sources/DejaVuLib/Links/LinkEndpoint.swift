public import DejaVuCore
import Glibc
public import NIOCore
import NIOPosix

/// What a process needs to open links, in either direction.
public struct LinkEndpoint: Sendable {
    /// What it says of itself; asked for anew in each handshake, since the term may change.
    public var identity: @Sendable () -> LinkIdentity
    public var key: ClusterKey
    public var limits: LinkLimits
    public var security: LinkSecurity
    /// The wire of an emulated machine, for what links send; nil, the default, where the machine's own is meant. Links
    /// through files take no notice.
    public var pace: LinkPace?
    /// Refuses a peer that has proved the key and agrees in model and numeric class; nil takes it.
    public var judge: @Sendable (LinkIdentity) -> DejaVuError?

    public init(
        key: ClusterKey, limits: LinkLimits = LinkLimits(), security: LinkSecurity = .localOnly, pace: LinkPace? = nil,
        judge: @escaping @Sendable (LinkIdentity) -> DejaVuError? = { _ in nil },
        identity: @escaping @Sendable () -> LinkIdentity
    ) {
        limits.check()
        self.identity = identity
        self.key = key
        self.limits = limits
        self.security = security
        self.pace = pace
        self.judge = judge
    }

    func handler(
        _ side: Handshake.Side, certificate: LinkCertificate?, outcome: @escaping LinkHandler.Outcome
    ) -> LinkHandler {
        let handshake = Handshake(
            side: side, identity: identity(), key: key, nonce: Handshake.freshNonce(), judge: judge)
        return LinkHandler(
            handshake: handshake, startsHandshake: side == .initiator, certificate: certificate, limits: limits,
            outcome: outcome)
    }

    /// Opens a link and proves the key, within the connect and handshake limits.
    ///
    /// - Parameter open: called on the event loop before the first message; returns who takes the events.
    /// - Returns: the link, or a `DejaVuError` that says what failed and with whom.
    public func connect(
        to address: LinkAddress, on eventLoop: any EventLoop, open: @escaping @Sendable (Link) -> Link.Receiver
    ) -> EventLoopFuture<Link> {
        let promise = eventLoop.makePromise(of: Link.self)
        let certificate: LinkCertificate?
        do throws(DejaVuError) { certificate = try security.certificate(for: address) } catch {
            promise.fail(error)
            return promise.futureResult
        }
        let initialize: @Sendable (any Channel, SpoolPlace?) -> EventLoopFuture<Void> = { channel, place in
            channel.eventLoop.makeCompletedFuture {
                let handler = self.handler(.initiator, certificate: certificate) { result in
                    switch result {
                    case .success(let link):
                        // The link's owner hears of it before whoever waits for it.
                        let receiver = open(link)
                        promise.succeed(link)
                        return receiver
                    case .failure(let error):
                        promise.fail(
                            DejaVuError(error.code, "\(address): \(error.message)", subject: error.subject))
                        return nil
                    }
                }
                try self.add(handler, certificate, to: channel, at: address, through: place, isClient: true)
            }
        }
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(.init(limits.connectTime))
            .channelInitializer { initialize($0, nil) }
        let connected =
            switch address {
            case .unix(let path): bootstrap.connect(unixDomainSocketPath: path)
            case .tcp(let host, let port): bootstrap.connect(host: host, port: port)
            case .disk(let directory):
                SpoolDoor.connect(to: directory, within: limits.connectTime, on: eventLoop) { initialize($0, $1) }
            }
        connected.whenFailure { error in
            promise.fail(DejaVuError(.network, "cannot connect to \(address): \(error)"))
        }
        return promise.futureResult
    }

    /// Makes a fresh channel into what a link speaks over.
    ///
    /// - Parameter place: where bytes go if they go through files.
    func add(
        _ handler: LinkHandler, _ certificate: LinkCertificate?, to channel: any Channel, at address: LinkAddress,
        through place: SpoolPlace?, isClient: Bool
    ) throws {
        if let place {
            let spool = SpoolHandler(place, limits: limits)
            handler.isSpooled = true
            handler.gauge = spool.gauge
            try channel.pipeline.syncOperations.addHandler(spool)
        } else {
            try prepare(channel, isTCP: address.isTCP)
        }
        try certificate?.protect(channel, isClient: isClient)
        if let pace, place == nil {
            let wire = LinkPaceHandler(pace, limits: limits)
            handler.gauge = wire.gauge
            try channel.pipeline.syncOperations.addHandler(wire)
        }
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    /// Socket options that every link over a socket has.
    private func prepare(_ channel: any Channel, isTCP: Bool) throws {
        guard let options = channel.syncOptions else { preconditionFailure("a socket's options are its loop's") }
        try options.setOption(
            .writeBufferWaterMark, value: .init(low: limits.writableBytesLow, high: limits.writableBytesHigh))
        // A few of the largest fit into the second cache, where the reader finds what the kernel has just put there.
        // With four times as much, a gigabyte took 15% more processor time where that cache has 512 KB.
        try options.setOption(
            .recvAllocator,
            value: AdaptiveRecvByteBufferAllocator(minimum: 4 << 10, initial: 16 << 10, maximum: 64 << 10))
        if isTCP {
            try options.setOption(.tcpOption(.tcp_nodelay), value: 1)
            try options.setOption(.socketOption(.so_keepalive), value: 1)
            let silence = max(limits.silenceTime.nanoseconds / 1_000_000, 1)
            try options.setOption(.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: Int(min(silence, 1 << 30)))
            if let unsent = limits.kernelUnsentBytesMax {
                try options.setOption(.tcpOption(.init(rawValue: TCP_NOTSENT_LOWAT)), value: unsent)
            }
            try options.setOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: 1)
            try options.setOption(.tcpOption(.init(rawValue: TCP_KEEPINTVL)), value: 1)
            try options.setOption(.tcpOption(.init(rawValue: TCP_KEEPCNT)), value: 3)
        } else {
            try options.setOption(.socketOption(.so_sndbuf), value: 1 << 20)
        }
    }
}

extension LinkAddress {
    var isTCP: Bool {
        if case .tcp = self { true } else { false }
    }
}
