import DejaVuCore
import NIOCore

/// The end of a link's pipeline: bytes in and out, the handshake, the limits. Confined to the channel's event loop.
final class LinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Told once: the link after its handshake, or why there is none.
    typealias Outcome = (Result<Link, DejaVuError>) -> Link.Receiver?

    private enum Phase {
        case shaking(Handshake)
        case open(Link, Link.Receiver)
        case closed
    }

    private let limits: LinkLimits
    private let startsHandshake: Bool
    /// What the channel's TLS shows; nil without TLS.
    private let certificate: LinkCertificate?
    private var outcome: Outcome?
    private var phase: Phase
    private var decoder: LinkMessageDecoder
    private var handshakeTimer: Scheduled<Void>?
    private var messageTimer: Scheduled<Void>?
    /// Why the channel is about to become inactive, if that is known already.
    private var end: LinkEnd?
    /// Whether the channel's bytes go through files.
    var isSpooled = false
    /// What waits outside of the channel: in those files, or for an emulated wire.
    var gauge: UnsentGauge?

    init(
        handshake: Handshake, startsHandshake: Bool, certificate: LinkCertificate?, limits: LinkLimits,
        outcome: @escaping Outcome
    ) {
        self.certificate = certificate
        self.limits = limits
        self.startsHandshake = startsHandshake
        self.outcome = outcome
        phase = .shaking(handshake)
        decoder = LinkMessageDecoder(headerBytesMax: Handshake.messageBytesMax, payloadBytesMax: 0)
    }

    // MARK: Channel events

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context.channel), eventLoop: context.eventLoop)
        handshakeTimer = context.eventLoop.scheduleTask(in: .init(limits.handshakeTime)) {
            let (handler, channel) = bound.value
            handler.fail(
                DejaVuError(.deadlineExceeded, "the peer did not finish the handshake in time"), tell: true,
                channel: channel)
        }
        if startsHandshake, case .shaking(var handshake) = phase {
            let hello = handshake.start()
            phase = .shaking(handshake)
            put(hello, to: context.channel)
            context.channel.flush()
        }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard end == nil else { return }
        decoder.append(unwrapInboundIn(data))
        do throws(DejaVuError) {
            while end == nil, let part = try decoder.nextPart() {
                switch part {
                case .message(let message): try receive(message, channel: context.channel)
                case .piece(let piece): if case .open(_, let receiver) = phase { receiver(.piece(piece)) }
                }
            }
        } catch {
            fail(error, tell: true, channel: context.channel)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        watchMessage(context: context)
        if end == nil, case .open(_, let receiver) = phase { receiver(.batchEnd) }
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if end == nil, case .open(_, let receiver) = phase { receiver(.writable(isWritable(context.channel))) }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if end == nil { end = LinkEnd(.lost, DejaVuError(.network, LinkCertificate.explain(error))) }
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        handshakeTimer?.cancel()
        messageTimer?.cancel()
        let end = self.end ?? LinkEnd(.lost, DejaVuError(.network, wordlessEnd))
        self.end = end
        let before = phase
        phase = .closed
        switch before {
        case .shaking: report(.failure(end.error))
        case .open(_, let receiver): receiver(.closed(end))
        case .closed: break
        }
        context.fireChannelInactive()
    }

    /// What to say of a connection that just ends.
    private var wordlessEnd: String {
        if case .shaking = phase, startsHandshake, certificate == nil {
            return "the other side hung up before the handshake; if it wants TLS, this side must use it, too"
        }
        return "the connection ended without a goodbye"
    }

    // MARK: Messages

    private func receive(_ message: LinkMessage, channel: any Channel) throws(DejaVuError) {
        switch phase {
        case .closed: return
        case .shaking where message.kind == Handshake.Kind.refusal:
            hangUp(LinkEnd(.closedByPeer, Handshake.refusal(in: message)), channel)
        case .shaking(var handshake):
            // The channel's TLS is done by the time that a message comes through it.
            if let certificate {
                handshake.binding = try certificate.binding(of: channel, isClient: startsHandshake)
            }
            let output = try handshake.receive(message)
            phase = .shaking(handshake)
            if let answer = output.send {
                put(answer, to: channel)
                channel.flush()
            }
            if let peer = output.peer { open(to: peer, channel: channel) }
        case .open(_, let receiver):
            if message.kind >= LinkMessage.userKindMin { return receiver(.message(message)) }
            switch message.kind {
            case Handshake.Kind.goodbye:
                var reader = ByteReader(message.header)
                let reason = printable(try reader.readString(), bytesMax: 1024)
                hangUp(LinkEnd(.closedByPeer, DejaVuError(.unavailable, "the peer closed: \(reason)")), channel)
            case Handshake.Kind.refusal:
                hangUp(LinkEnd(.closedByPeer, Handshake.refusal(in: message)), channel)
            default: throw .malformed("kind \(message.kind) on an open link")
            }
        }
    }

    private func open(to peer: LinkIdentity, channel: any Channel) {
        handshakeTimer?.cancel()
        decoder.headerBytesMax = limits.headerBytesMax
        decoder.payloadBytesMax = limits.payloadBytesMax
        decoder.streamedKindMin = limits.streamedKindMin
        let link = Link(
            peer: peer, channel: channel, isEncrypted: certificate != nil, isSpooled: isSpooled, gauge: gauge,
            handler: NIOLoopBound(self, eventLoop: channel.eventLoop))
        if let receiver = report(.success(link)) {
            phase = .open(link, receiver)
        } else {
            fail(DejaVuError(.resourceExhausted, "no more links are taken"), tell: true, channel: channel)
        }
    }

    @discardableResult
    private func report(_ result: Result<Link, DejaVuError>) -> Link.Receiver? {
        let outcome = self.outcome
        self.outcome = nil
        return outcome?(result)
    }

    /// A message that has begun must end in time, or a peer could hold memory for ever.
    private func watchMessage(context: ChannelHandlerContext) {
        guard decoder.isInsideMessage, end == nil else {
            messageTimer?.cancel()
            messageTimer = nil
            return
        }
        guard messageTimer == nil else { return }
        let bound = NIOLoopBound((self, context.channel), eventLoop: context.eventLoop)
        messageTimer = context.eventLoop.scheduleTask(in: .init(limits.messageTime)) {
            let (handler, channel) = bound.value
            handler.messageTimer = nil
            handler.fail(
                DejaVuError(.deadlineExceeded, "the peer did not finish a message in time"), tell: true,
                channel: channel)
        }
    }

    // MARK: Writing and closing

    func write(_ message: LinkMessage, to channel: any Channel) {
        guard end == nil else { return }
        precondition(
            message.header.readableBytes <= limits.headerBytesMax
                && message.payload.readableBytes <= limits.payloadBytesMax,
            "a message of kind \(message.kind) breaks the limits of its link")
        put(message, to: channel)
        if !isWritable(channel), unsentBytes(of: channel) > limits.unsentBytesMax {
            fail(
                DejaVuError(
                    .resourceExhausted, "the peer leaves more than \(limits.unsentBytesMax) bytes unread"),
                tell: false, channel: channel)
        }
    }

    private func isWritable(_ channel: any Channel) -> Bool { channel.isWritable && gauge?.isFull != true }

    private func unsentBytes(of channel: any Channel) -> Int {
        let buffered = isSpooled ? 0 : (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
        return buffered + (gauge?.bytes ?? 0)
    }

    private func put(_ message: LinkMessage, to channel: any Channel) {
        var front = channel.allocator.buffer(capacity: LinkMessage.prefixBytes + message.header.readableBytes)
        message.writeFront(into: &front)
        channel.write(front, promise: nil)
        if message.payload.readableBytes > 0 { channel.write(message.payload, promise: nil) }
    }

    func closeHere(_ reason: String, channel: any Channel) {
        guard end == nil else { return }
        var writer = ByteWriter()
        writer.write(printable(reason, bytesMax: 1024))
        end = LinkEnd(.closedHere, DejaVuError(.cancelled, reason))
        put(LinkMessage(kind: Handshake.Kind.goodbye, header: writer.buffer), to: channel)
        closeWhenSent(channel)
    }

    /// The peer is at fault: say so if it may listen, and close.
    private func fail(_ error: DejaVuError, tell: Bool, channel: any Channel) {
        guard end == nil else { return }
        end = LinkEnd(.dropped, error)
        if tell {
            put(Handshake.refusal(for: error), to: channel)
            closeWhenSent(channel)
        } else {
            channel.close(promise: nil)
        }
    }

    private func hangUp(_ end: LinkEnd, _ channel: any Channel) {
        guard self.end == nil else { return }
        self.end = end
        channel.close(promise: nil)
    }

    private func closeWhenSent(_ channel: any Channel) {
        let deadline = channel.eventLoop.scheduleTask(in: .init(limits.closeTime)) { channel.close(promise: nil) }
        channel.writeAndFlush(ByteBuffer()).whenComplete { _ in
            deadline.cancel()
            channel.close(promise: nil)
        }
    }
}

extension TimeAmount {
    init(_ span: TimeSpan) { self = .nanoseconds(span.nanoseconds) }
}
