import DejaVuCore
import DejaVuLib
import Glibc
import NIOCore

/// A blocking socket, or a blocking end of a spool, that says whatever a test wants it to: the hostile, dead or mute
/// peer.
final class RawPeer {
    private let descriptor: Int32
    private var spool: RawSpool?
    private var decoder = LinkMessageDecoder(headerBytesMax: 1 << 20, payloadBytesMax: 1 << 20)

    init(connectedTo address: LinkAddress) throws {
        switch address {
        case .unix(let path):
            descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
            try Self.check(
                withUnsafePointer(to: &name) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                    }
                })
        case .tcp(_, let port):
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = in_port_t(UInt16(port).bigEndian)
            name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            try Self.check(
                withUnsafePointer(to: &name) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                })
        case .disk(let directory):
            let spool = try RawSpool(connectedTo: directory)
            self.spool = spool
            descriptor = spool.heard
        }
        var timeout = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        close(descriptor)
        spool?.end()
    }

    private static func check(_ result: Int32) throws {
        if result != 0 { throw DejaVuError(.network, String(cString: strerror(errno))) }
    }

    /// Ignores that the other side may have hung up.
    func say(_ bytes: [UInt8]) {
        if spool != nil {
            spool?.say(bytes)
            return
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count <= 0 { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Bytes that have come and were not heard yet.
    var unheardBytes: Int {
        var count: Int32 = 0
        _ = ioctl(descriptor, UInt(FIONREAD), &count)
        return Int(count)
    }

    /// Ends its half of the connection; it can still hear.
    func sayNoMore() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    func say(_ message: LinkMessage) { say(Self.bytes(of: message)) }

    static func bytes(of message: LinkMessage) -> [UInt8] {
        var buffer = ByteBuffer()
        message.writeFront(into: &buffer)
        buffer.writeImmutableBuffer(message.payload)
        return [UInt8](buffer.readableBytesView)
    }

    /// The next message; nil when the other side has hung up.
    func hear() throws -> LinkMessage? {
        while true {
            if let message = try decoder.next() { return message }
            if spool != nil {
                guard let bytes = try spool?.hear() else { return nil }
                decoder.append(bytes)
                continue
            }
            var bytes = [UInt8](repeating: 0, count: 65536)
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count < 0 && errno == EAGAIN { throw DejaVuError(.deadlineExceeded, "the other side says nothing") }
            if count <= 0 { return nil }
            decoder.append(ByteBuffer(bytes: bytes[..<count]))
        }
    }

    /// The last thing that the other side says before it hangs up.
    func hearToTheEnd() throws -> LinkMessage? {
        var last: LinkMessage?
        while let message = try hear() { last = message }
        return last
    }

    /// Passes the handshake as an honest initiator.
    ///
    /// - Returns: everything that was said, to replay it.
    @discardableResult
    func shakeHands(as identity: LinkIdentity, key: ClusterKey) throws -> [LinkMessage] {
        var handshake = Handshake(
            side: .initiator, identity: identity, key: key, nonce: Handshake.freshNonce(), judge: { _ in nil })
        var said = [handshake.start()]
        say(said[0])
        while let message = try hear() {
            let output = try handshake.receive(message)
            if let answer = output.send {
                said.append(answer)
                say(answer)
            }
            if output.peer != nil { return said }
        }
        throw DejaVuError(.network, "the other side hung up")
    }
}
