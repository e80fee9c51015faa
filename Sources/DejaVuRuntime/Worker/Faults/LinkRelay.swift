import DejaVuCore
import Glibc
import Synchronization

/// Stands in front of a unix socket and passes on what comes, until it is told to bring a fault upon it. For
/// `dejavu bench chaos` alone: without it no byte of a link takes this way.
///
/// Its threads block: two for each connection, and one that waits for the next.
final class LinkRelay: Sendable {
    /// Both ends of a connection. Its descriptors are closed when the last thread has let go of it.
    private final class Pair: Sendable {
        let near: Int32
        let far: Int32
        init(near: Int32, far: Int32) {
            self.near = near
            self.far = far
        }
        deinit {
            close(near)
            close(far)
        }
        func end() {
            shutdown(near, Int32(SHUT_RDWR))
            shutdown(far, Int32(SHUT_RDWR))
        }
    }

    private struct State {
        var pairs: [UInt64: Pair] = [:]
        var pairCount: UInt64 = 0
        var closedUntil = Instant.zero
        var silentUntil = Instant.zero
        /// Blocks in which a bit is still to be flipped.
        var corruptions = 0
    }

    /// Blocks below this are handshakes and acknowledgements, and left alone by corruption.
    private static let corruptedBytesMin = 256

    private let front: String
    private let back: String
    private let listener: Int32
    private let state = Mutex(State())

    /// - Throws: `.network` if it cannot listen at `front`.
    init(front: String, back: String) throws(DejaVuError) {
        self.front = front
        self.back = back
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let isBound = UnixSocketPath.with(front) { bind(listener, $0, $1) == 0 }
        guard isBound, listen(listener, 64) == 0 else {
            let reason = String(cString: strerror(errno))
            close(listener)
            throw DejaVuError(.network, "cannot relay at \(front): \(reason)")
        }
        try OSThread.start("relay", stackBytes: 256 << 10) { self.accept() }
    }

    // MARK: Faults

    /// Every connection ends now, and none is taken for a while.
    func cut(for span: TimeSpan) {
        let pairs = state.withLock { state in
            state.closedUntil = MonotonicClock.now + span
            return Array(state.pairs.values)
        }
        for pair in pairs { pair.end() }
    }

    /// Nothing comes through for a while, and nobody is told.
    func silence(for span: TimeSpan) { state.withLock { $0.silentUntil = MonotonicClock.now + span } }

    /// A bit of the next block that goes through is flipped.
    func corrupt() { state.withLock { $0.corruptions += 1 } }

    func end() {
        unlink(front)
        shutdown(listener, Int32(SHUT_RDWR))
        for pair in state.withLock({ Array($0.pairs.values) }) { pair.end() }
    }

    // MARK: Connections

    private func accept() {
        defer { close(listener) }
        while true {
            let near = Glibc.accept(listener, nil, nil)
            guard near >= 0 else {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            if state.withLock({ $0.closedUntil }) > MonotonicClock.now {
                close(near)
                continue
            }
            let far = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            let pair = Pair(near: near, far: far)
            guard UnixSocketPath.with(back, { connect(far, $0, $1) == 0 }) else { continue }
            let id = state.withLock { state in
                state.pairCount += 1
                state.pairs[state.pairCount] = pair
                return state.pairCount
            }
            for (source, sink) in [(near, far), (far, near)] {
                do throws(DejaVuError) {
                    try OSThread.start("relay", stackBytes: 256 << 10) { self.copy(source, sink, pair, id) }
                } catch { pair.end() }
            }
        }
    }

    private func copy(_ source: Int32, _ sink: Int32, _ pair: Pair, _ id: UInt64) {
        var block = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(source, &block, block.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { break }
            waitWhileSilent()
            if takesCorruption(of: count) { block[Int.random(in: 0..<count)] ^= 1 << UInt8.random(in: 0..<8) }
            guard write(block[..<count], to: sink) else { break }
        }
        pair.end()
        state.withLock { $0.pairs[id] = nil }
    }

    private func waitWhileSilent() {
        while true {
            let left = state.withLock { $0.silentUntil } - MonotonicClock.now
            guard left > .zero else { return }
            usleep(UInt32(min(left.nanoseconds / 1000 + 1, 50_000)))
        }
    }

    private func takesCorruption(of count: Int) -> Bool {
        count >= Self.corruptedBytesMin
            && state.withLock { state in
                guard state.corruptions > 0 else { return false }
                state.corruptions -= 1
                return true
            }
    }

    private func write(_ bytes: ArraySlice<UInt8>, to sink: Int32) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}

/// The address of a unix socket as the system wants it.
enum UnixSocketPath {
    /// - Precondition: the path is not longer than `LinkAddress.pathBytesMax`.
    static func with<Result>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            precondition(path.utf8.count < bytes.count, "the path of a socket is too long: \(path)")
            bytes.copyBytes(from: path.utf8)
        }
        return withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
