public import DejaVuCore
public import NIOCore
import NIOPosix

/// Hears the heartbeats of other processes, on a thread of its own, and reports them. Who is dead is decided elsewhere.
public final class HeartbeatListener: Sendable {
    public enum Event: Sendable {
        case opened
        /// - Parameter content: what the beat says.
        case beat(content: ByteBuffer)
        case ended(LinkEnd)
    }

    /// The most that a beat may say, in bytes.
    public static let contentBytesMax = 4096

    public let address: LinkAddress
    private let listener: LinkListener
    private let group: MultiThreadedEventLoopGroup

    private init(listener: LinkListener, group: MultiThreadedEventLoopGroup) {
        self.listener = listener
        self.group = group
        address = listener.address
    }

    /// - Parameters:
    ///   - report: told of each event and of who it is about, on the heartbeats' thread; must not wait. `ended` is the
    ///     last of a link.
    ///   - refused: told of each peer that did not get in, and why.
    /// - Throws: `.network` if the address cannot be bound.
    public static func listen(
        at address: LinkAddress, as endpoint: LinkEndpoint,
        report: @escaping @Sendable (LinkIdentity, Event) -> Void, refused: @escaping @Sendable (DejaVuError) -> Void
    ) async throws(DejaVuError) -> HeartbeatListener {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var endpoint = endpoint
        endpoint.limits = limits(endpoint.limits)
        do throws(DejaVuError) {
            let listener = try await LinkListener.listen(at: address, as: endpoint, on: group.next()) { link in
                report(link.peer, .opened)
                return { receive($0, from: link, report) }
            } refused: {
                refused($0)
            }
            return HeartbeatListener(listener: listener, group: group)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
    }

    /// Of links that carry nothing but beats: who does not read them is dropped soon.
    static func limits(_ base: LinkLimits) -> LinkLimits {
        var limits = base
        limits.headerBytesMax = contentBytesMax
        limits.payloadBytesMax = 0
        limits.writableBytesLow = contentBytesMax
        limits.writableBytesHigh = 4 * contentBytesMax
        limits.unsentBytesMax = 64 * contentBytesMax
        return limits
    }

    private static func receive(
        _ event: LinkEvent, from link: Link, _ report: @Sendable (LinkIdentity, Event) -> Void
    ) {
        switch event {
        case .message(let message) where message.kind == heartbeatKind:
            report(link.peer, .beat(content: message.header))
        case .message(let message): link.close("a message of kind \(message.kind) is no heartbeat")
        case .closed(let end): report(link.peer, .ended(end))
        case .piece, .batchEnd, .writable: break
        }
    }

    /// Ends all links and the thread.
    public func close() async {
        await listener.close()
        try? await group.shutdownGracefully()
    }
}
