import DejaVuCore
import NIOCore

/// What a session speaks over: messages both ways, in order. Its events are a link's, told on the event loop; all calls
/// are made there, too.
protocol PeerWire: AnyObject, Sendable {
    var eventLoop: any EventLoop { get }
    /// Who is at the other end, as far as it has proved it.
    var peer: LinkIdentity { get }
    /// Whether what is unsent is little enough for another chunk.
    var isWritable: Bool { get }
    func write(_ message: LinkMessage)
    func flush()
    func close(_ reason: String)
}

extension Link: PeerWire {}

/// The numbers that both ends of a session must agree on.
package enum PeerProtocol {
    /// Header of one message; the tokens of a frame are in it.
    package static let headerBytesMax = 8 << 20
    /// Payload of one message: between any two, something more urgent may go first.
    package static let chunkBytesMax = 256 << 10
    /// What a sender may send of a frame before the receiver has said anything about it.
    package static let windowFirst = 512 << 10
    /// What a receiver keeps of a frame that its store has not taken yet.
    package static let window = 2 << 20
    /// Frames under way of one priority; so the urgent never wait for a place that others hold.
    package static let framesMax = 16
    /// Calls under way.
    package static let callsMax = 128

    /// The kinds of messages.
    package enum Kind {
        package static let begin: UInt8 = 64
        package static let end: UInt8 = 65
        package static let abandon: UInt8 = 66
        package static let credit: UInt8 = 67
        package static let receipt: UInt8 = 68
        package static let failed: UInt8 = 69
        package static let call: UInt8 = 70
        package static let answer: UInt8 = 71
        package static let callFailed: UInt8 = 72
        package static let cancelCall: UInt8 = 73
        package static let chunk: UInt8 = 128
        package static let readChunk: UInt8 = 129
    }

    /// The limits of a link that carries such a session.
    static func limits(_ base: LinkLimits) -> LinkLimits {
        var limits = base
        limits.headerBytesMax = headerBytesMax
        limits.payloadBytesMax = chunkBytesMax
        limits.streamedKindMin = Kind.chunk
        limits.writableBytesHigh = 2 * chunkBytesMax
        limits.writableBytesLow = chunkBytesMax
        limits.unsentBytesMax = limits.headerBytesMax * 4
        limits.kernelUnsentBytesMax = limits.kernelUnsentBytesMax ?? 2 * chunkBytesMax
        return limits
    }
}
