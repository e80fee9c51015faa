import Crypto
package import DejaVuCore
import NIOCore

/// How two processes come to trust each other: a pure state machine, one for each side.
///
/// ```
/// initiator -> acceptor   hello         magic, version, nonce
/// acceptor  -> initiator  hello         magic, version, nonce
/// initiator -> acceptor   introduction  identity, proof
/// acceptor  -> initiator  introduction  identity, proof
/// ```
/// A proof is HMAC-SHA256 under the cluster key over the side's label, the version, both nonces and the identities that
/// are known by then, and what names the TLS channel: who stands between two ends has another channel with each.
/// Both nonces are fresh, so a replay of either side's bytes proves nothing; the labels differ, so a
/// side cannot be answered with its own proof; and a stranger learns no identity of the acceptor. Either side may send
/// a refusal instead and close.
package struct Handshake {
    static let magic: [UInt8] = Array("DJVL".utf8)
    static let protocolVersion: UInt32 = 3
    package static let nonceBytes = 32
    static let proofBytes = 32
    package static let messageBytesMax = 4096

    package enum Kind {
        package static let hello: UInt8 = 1
        package static let introduction: UInt8 = 2
        package static let refusal: UInt8 = 3
        package static let goodbye: UInt8 = 4
    }

    package enum Side { case initiator, acceptor }

    /// What to do after a message: send what is there, and, once there is a peer, open the link.
    package struct Output {
        package var send: LinkMessage?
        package var peer: LinkIdentity?
    }

    /// A further reason to refuse a peer that has proved the key.
    package typealias Judge = @Sendable (LinkIdentity) -> DejaVuError?

    private enum State { case start, hello, introduction, done }

    private let side: Side
    private let identity: LinkIdentity
    private let key: ClusterKey
    private let nonce: [UInt8]
    private let judge: Judge
    private var peerNonce: [UInt8] = []
    private var firstIntroduction: [UInt8] = []
    private var state: State
    /// What names the channel below and both its ends, if it can: the certificates' fingerprints. Set before the first
    /// proof; a proof for another channel is none.
    package var binding: [UInt8] = []

    /// - Parameter nonce: random and never used before; `Handshake.freshNonce()` outside of tests.
    package init(side: Side, identity: LinkIdentity, key: ClusterKey, nonce: [UInt8], judge: @escaping Judge) {
        precondition(nonce.count == Self.nonceBytes, "a nonce has \(Self.nonceBytes) bytes")
        self.side = side
        self.identity = identity
        self.key = key
        self.nonce = nonce
        self.judge = judge
        state = side == .initiator ? .start : .hello
    }

    package static func freshNonce() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<nonceBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    /// The initiator's first message.
    package mutating func start() -> LinkMessage {
        precondition(side == .initiator && state == .start, "only the initiator starts, and once")
        state = .hello
        return hello()
    }

    /// - Throws: why the handshake has failed; the caller sends `refusal(for:)` if the peer is to know, and closes.
    package mutating func receive(_ message: LinkMessage) throws(DejaVuError) -> Output {
        guard message.payload.readableBytes == 0 else { throw .malformed("a handshake has no payload") }
        var reader = ByteReader(message.header)
        switch (state, message.kind) {
        case (.hello, Kind.hello):
            try receiveHello(&reader)
            state = .introduction
            return Output(send: side == .initiator ? introduction() : hello())
        case (.introduction, Kind.introduction):
            let (peer, bytes) = try receiveIntroduction(&reader)
            if let error = identity.mismatch(with: peer) ?? judge(peer) { throw error }
            state = .done
            if side == .initiator { return Output(peer: peer) }
            firstIntroduction = bytes
            return Output(send: introduction(), peer: peer)
        default:
            throw .malformed("a message of kind \(message.kind) in the middle of the handshake")
        }
    }

    /// Tells the peer why.
    package static func refusal(for error: DejaVuError) -> LinkMessage {
        var writer = ByteWriter()
        writer.write(error.code.description)
        writer.write(printable(error.message, bytesMax: 2048))
        writer.write(printable(error.subject ?? "", bytesMax: 64))
        return LinkMessage(kind: Kind.refusal, header: writer.buffer)
    }

    /// What a peer's refusal says; its code if that makes sense between two processes.
    package static func refusal(in message: LinkMessage) -> DejaVuError {
        var reader = ByteReader(message.header)
        guard let code = try? reader.readString(), let text = try? reader.readString() else {
            return .malformed("an unreadable refusal")
        }
        let known = DejaVuError.Code(code) ?? .refused
        let subject = (try? reader.readString()).flatMap { $0.isEmpty ? nil : printable($0, bytesMax: 64) }
        return DejaVuError(known, "the peer refuses: \(printable(text, bytesMax: 2048))", subject: subject)
    }

    private func hello() -> LinkMessage {
        var writer = ByteWriter()
        writer.write(raw: Self.magic)
        writer.write(Self.protocolVersion)
        writer.write(raw: nonce)
        return LinkMessage(kind: Kind.hello, header: writer.buffer)
    }

    private mutating func receiveHello(_ reader: inout ByteReader) throws(DejaVuError) {
        guard [UInt8](try reader.readSlice(Self.magic.count).readableBytesView) == Self.magic else {
            throw .malformed("it does not speak this protocol")
        }
        let version = try reader.read(UInt32.self)
        guard version == Self.protocolVersion else {
            throw DejaVuError(
                .mismatch,
                "protocol version mismatch: \(identity) speaks \(Self.protocolVersion), its peer speaks \(version)",
                subject: "protocol version")
        }
        peerNonce = [UInt8](try reader.readSlice(Self.nonceBytes).readableBytesView)
        try reader.finish()
    }

    private func introduction() -> LinkMessage {
        let bytes = identity.encoded()
        var writer = ByteWriter()
        writer.write(bytes)
        writer.write(raw: proof(of: side, introduction: bytes))
        return LinkMessage(kind: Kind.introduction, header: writer.buffer)
    }

    private func receiveIntroduction(
        _ reader: inout ByteReader
    ) throws(DejaVuError) -> (LinkIdentity, bytes: [UInt8]) {
        let bytes = try reader.readBytes()
        let claimed = [UInt8](try reader.readSlice(Self.proofBytes).readableBytesView)
        try reader.finish()
        let other: Side = side == .initiator ? .acceptor : .initiator
        let peer = try LinkIdentity.decoded(from: bytes)
        let authentic = HMAC<SHA256>.isValidAuthenticationCode(
            claimed, authenticating: transcript(of: other, introduction: bytes), using: key.symmetric)
        guard authentic else {
            throw DejaVuError(
                .refused,
                "cluster key mismatch: \(peer) cannot prove the key of \(identity)"
                    + (binding.isEmpty ? "" : " over this TLS channel"), subject: "cluster key")
        }
        return (peer, bytes)
    }

    private func proof(of prover: Side, introduction: [UInt8]) -> [UInt8] {
        [UInt8](
            HMAC<SHA256>.authenticationCode(
                for: transcript(of: prover, introduction: introduction), using: key.symmetric))
    }

    private func transcript(of prover: Side, introduction: [UInt8]) -> [UInt8] {
        let (initiatorNonce, acceptorNonce) = side == .initiator ? (nonce, peerNonce) : (peerNonce, nonce)
        // The acceptor speaks second and so vouches for what it has heard, too.
        let heard = side == .initiator ? identity.encoded() : firstIntroduction
        var writer = ByteWriter()
        writer.write(prover == .initiator ? "dejavu link initiator" : "dejavu link acceptor")
        writer.write(Self.protocolVersion)
        writer.write(raw: initiatorNonce)
        writer.write(raw: acceptorNonce)
        writer.write(binding)
        if prover == .acceptor { writer.write(heard) }
        writer.write(introduction)
        return writer.bytes
    }
}
