import DejaVuCore
package import NIOCore

/// Carries a link's bytes through files: the channel below only rings.
///
/// The channel is a pair of FIFOs, one each way. What a link writes goes into segment files; then the other process is
/// told how much there is, reads it, removes what it has read, and tells how much it has taken. A process that ends
/// closes its FIFO, which the other hears of at once. Confined to the channel's event loop, which blocks as long as
/// the file system does: a link for bulk should have a loop that nothing urgent shares.
package final class SpoolHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    /// A ring is a count of bytes since the beginning: written, or with this bit taken.
    package static let takenBit: UInt64 = 1 << 63

    /// What the other process has not read yet.
    let gauge = UnsentGauge()
    private let place: SpoolPlace
    private let limits: LinkLimits
    private var outgoing: SpoolWriter
    private var incoming: SpoolReader
    private var rings = ByteBuffer()
    private var announced = 0
    private var takenByPeer = 0
    private var isClosed = false

    init(_ place: SpoolPlace, limits: LinkLimits, files: any DiskFileSystem = PosixFileSystem()) {
        self.place = place
        self.limits = limits
        outgoing = SpoolWriter(SpoolPath(place, of: place.side), files: files)
        incoming = SpoolReader(SpoolPath(place, of: place.side.other), files: files)
    }

    // MARK: Out

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        do throws(IOFailure) {
            try outgoing.append(unwrapOutboundIn(data))
            promise?.succeed()
            measure(context)
        } catch {
            promise?.fail(error.error(in: "spool"))
            context.fireErrorCaught(error.error(in: "spool"))
        }
    }

    package func flush(context: ChannelHandlerContext) {
        if outgoing.written > announced {
            announced = outgoing.written
            ring(UInt64(announced), context)
        }
        context.flush()
    }

    private func ring(_ count: UInt64, _ context: ChannelHandlerContext) {
        var bytes = context.channel.allocator.buffer(capacity: 8)
        bytes.writeInteger(count, endianness: .little)
        context.write(wrapOutboundOut(bytes), promise: nil)
    }

    /// Tells of what waits, when it crosses a water mark.
    private func measure(_ context: ChannelHandlerContext) {
        let unread = outgoing.written - takenByPeer
        if gauge.set(unread, limits: limits) { context.fireChannelWritabilityChanged() }
    }

    // MARK: In

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        rings.writeImmutableBuffer(unwrapInboundIn(data))
        while !isClosed, let count = rings.readInteger(endianness: .little, as: UInt64.self) {
            do throws(DejaVuError) {
                if count & Self.takenBit != 0 {
                    try taken(count & ~Self.takenBit, context)
                } else {
                    try available(count, context)
                }
            } catch {
                context.fireErrorCaught(error)
            }
        }
        rings.discardReadBytes()
    }

    private func taken(_ count: UInt64, _ context: ChannelHandlerContext) throws(DejaVuError) {
        guard let count = Int(exactly: count), (takenByPeer...announced).contains(count) else {
            throw .malformed("the peer has taken \(count) bytes of \(announced)")
        }
        takenByPeer = count
        measure(context)
    }

    private func available(_ count: UInt64, _ context: ChannelHandlerContext) throws(DejaVuError) {
        guard let count = Int(exactly: count), count > incoming.taken else {
            throw .malformed("the peer has written \(count) bytes, of which \(incoming.taken) were read")
        }
        while !isClosed, incoming.taken < count {
            let bytes: ByteBuffer
            do throws(IOFailure) {
                bytes = try incoming.read(count - incoming.taken, context.channel.allocator)
            } catch {
                throw error.error(in: "spool")
            }
            context.fireChannelRead(wrapInboundOut(bytes))
        }
        guard !isClosed else { return }
        ring(UInt64(count) | Self.takenBit, context)
        context.flush()
    }

    // MARK: The end

    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if !isClosed {
            isClosed = true
            place.leave(peerHasEnded: false)
        }
        context.close(mode: mode, promise: promise)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        if !isClosed {
            isClosed = true
            place.leave(peerHasEnded: true)
        }
        context.fireChannelInactive()
    }
}
