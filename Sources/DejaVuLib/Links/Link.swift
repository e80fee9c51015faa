import DejaVuCore
public import NIOCore

/// One authenticated connection to another process: messages both ways, in order, or a `closed` event.
///
/// Everything may be called on any thread; calls on one thread keep their order. Calls on the link's event loop write
/// at once. Nothing here waits.
public final class Link: Sendable, CustomStringConvertible {
    /// Takes a link's events, on its event loop.
    public typealias Receiver = @Sendable (LinkEvent) -> Void

    public let peer: LinkIdentity
    /// The far end as the kernel names it, for logs.
    public let remoteAddress: String
    /// The IP address of this end; nil where there is no network. Who can reach the peer's network can reach it.
    public let localHost: String?
    /// Whether TLS protects it.
    public let isEncrypted: Bool
    public let eventLoop: any EventLoop
    /// Whether its bytes go through files of this machine.
    public let isSpooled: Bool
    private let channel: any Channel
    /// What waits outside of the channel, if anything can.
    private let gauge: UnsentGauge?
    private let handler: NIOLoopBound<LinkHandler>

    init(
        peer: LinkIdentity, channel: any Channel, isEncrypted: Bool, isSpooled: Bool, gauge: UnsentGauge?,
        handler: NIOLoopBound<LinkHandler>
    ) {
        self.isSpooled = isSpooled
        self.gauge = gauge
        self.isEncrypted = isEncrypted
        self.peer = peer
        self.channel = channel
        self.handler = handler
        eventLoop = channel.eventLoop
        localHost = channel.localAddress?.ipAddress
        remoteAddress = channel.remoteAddress.map { "\($0)" } ?? (!isSpooled ? "a unix socket" : "files")
    }

    public var description: String { "link to \(peer)" }
    public var isOpen: Bool { channel.isActive }
    /// Whether the unsent bytes are below the mark of the limits.
    public var isWritable: Bool { channel.isWritable && gauge?.isFull != true }

    /// Queues a message until the next `flush`. Dropped if the link is closed.
    ///
    /// - Precondition: the kind is the user's and the message keeps the limits.
    public func write(_ message: LinkMessage) {
        precondition(message.kind >= LinkMessage.userKindMin, "kind \(message.kind) belongs to the link")
        onLoop { $0.write(message, to: self.channel) }
    }

    /// Hands what was written to the kernel.
    public func flush() {
        onLoop { _ in self.channel.flush() }
    }

    public func send(_ message: LinkMessage) {
        onLoop {
            $0.write(message, to: self.channel)
            self.channel.flush()
        }
    }

    /// Says goodbye with a reason and closes, once what was written is sent or the limit for that has passed.
    public func close(_ reason: String) {
        onLoop { $0.closeHere(reason, channel: self.channel) }
    }

    private func onLoop(_ body: @escaping @Sendable (LinkHandler) -> Void) {
        if eventLoop.inEventLoop {
            body(handler.value)
        } else {
            eventLoop.execute { body(self.handler.value) }
        }
    }
}
