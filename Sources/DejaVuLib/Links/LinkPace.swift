public import DejaVuCore
import NIOCore
import Synchronization

/// The network of an emulated machine: what its links send leaves one after the other at a rate, and arrives after a
/// delay. Shared by all links that share the wire.
public final class LinkPace: Sendable {
    private let bytesPerSecond: Double
    private let delay: TimeSpan
    /// When all that was written so far has left.
    private let leftAt = Mutex(NIODeadline.uptimeNanoseconds(0))

    /// - Parameter bytesPerSecond: of real bytes; 0 for no limit.
    public init(bytesPerSecond: Double, delay: TimeSpan) {
        precondition(bytesPerSecond >= 0 && delay >= .zero, "a wire has a rate and a delay")
        self.bytesPerSecond = bytesPerSecond
        self.delay = delay
    }

    /// - Returns: when the last of so many bytes arrives.
    func send(_ byteCount: Int, at now: NIODeadline) -> NIODeadline {
        let time = bytesPerSecond > 0 ? TimeSpan.seconds(min(Double(byteCount) / bytesPerSecond, 1e6)) : .zero
        let left = leftAt.withLock { leftAt in
            leftAt = max(leftAt, now) + TimeAmount(time)
            return leftAt
        }
        return left + TimeAmount(delay)
    }
}

/// Keeps what a link writes until an emulated wire has carried it. Confined to the channel's event loop.
final class LinkPaceHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Waiting {
        let bytes: ByteBuffer
        let promise: EventLoopPromise<Void>?
        let due: NIODeadline
    }

    let gauge = UnsentGauge()
    private let pace: LinkPace
    private let limits: LinkLimits
    private var waiting: CircularBuffer<Waiting> = []
    private var waitingBytes = 0
    /// How many of those that wait are to go as soon as they are due.
    private var flushedCount = 0
    private var timer: Scheduled<Void>?

    init(_ pace: LinkPace, limits: LinkLimits) {
        self.pace = pace
        self.limits = limits
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let bytes = unwrapOutboundIn(data)
        let due = pace.send(bytes.readableBytes, at: context.eventLoop.now)
        waiting.append(Waiting(bytes: bytes, promise: promise, due: due))
        waitingBytes += bytes.readableBytes
        measure(context)
    }

    func flush(context: ChannelHandlerContext) {
        flushedCount = waiting.count
        pass(context)
    }

    private func pass(_ context: ChannelHandlerContext) {
        let now = context.eventLoop.now
        var hasWritten = false
        while flushedCount > 0, let next = waiting.first, next.due <= now {
            waiting.removeFirst()
            flushedCount -= 1
            waitingBytes -= next.bytes.readableBytes
            context.write(wrapOutboundOut(next.bytes), promise: next.promise)
            hasWritten = true
        }
        if hasWritten {
            context.flush()
            measure(context)
        }
        guard timer == nil, flushedCount > 0, let next = waiting.first else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(deadline: next.due) {
            let (handler, context) = bound.value
            handler.timer = nil
            handler.pass(context)
        }
    }

    private func measure(_ context: ChannelHandlerContext) {
        if gauge.set(waitingBytes, limits: limits) { context.fireChannelWritabilityChanged() }
    }

    // MARK: The end

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        drop()
        context.close(mode: mode, promise: promise)
    }

    func channelInactive(context: ChannelHandlerContext) {
        drop()
        context.fireChannelInactive()
    }

    private func drop() {
        timer?.cancel()
        timer = nil
        flushedCount = 0
        waitingBytes = 0
        let dropped = waiting
        waiting = []
        for one in dropped { one.promise?.fail(ChannelError.ioOnClosedChannel) }
    }
}
