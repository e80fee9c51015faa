package import DejaVuCore
import DejaVuLib
import Glibc
import NIOPosix
import Synchronization

/// What anybody could write in an afternoon: the same bytes, the same checksums, nothing else.
package enum BareTransfers {
    package static let chunkBytes = 256 << 10

    /// Copies chunk by chunk; each is checked after it was copied.
    package static func memory(_ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) -> UInt32 {
        var checksum = Checksum()
        forEachChunk(source) { chunk, offset in
            let place = UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + chunk.count])
            place.copyMemory(from: chunk)
            checksum.update(UnsafeRawBufferPointer(place))
        }
        return checksum.value
    }

    /// Writes chunk by chunk, with a checksum of each.
    static func disk(
        _ source: UnsafeRawBufferPointer, to descriptor: Int32, at start: Int
    ) throws(DejaVuError) -> UInt32 {
        var checksum = Checksum()
        var failure: Int32 = 0
        forEachChunk(source) { chunk, offset in
            checksum.update(chunk)
            var done = 0
            while done < chunk.count, failure == 0 {
                let count = pwrite(
                    descriptor, chunk.baseAddress?.advanced(by: done), chunk.count - done, start + offset + done)
                if count > 0 { done += count } else { failure = errno }
            }
        }
        guard failure == 0 else {
            throw DejaVuError(.unavailable, "cannot write to the disk: \(String(cString: strerror(failure)))")
        }
        return checksum.value
    }

    static func forEachChunk(_ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer, Int) -> Void) {
        for offset in stride(from: 0, to: bytes.count, by: chunkBytes) {
            let end = min(offset + chunkBytes, bytes.count)
            body(UnsafeRawBufferPointer(rebasing: bytes[offset..<end]), offset)
        }
    }
}

/// Two ends of a TCP connection over the loopback interface, with blocking calls: one thread sends, one receives.
package final class BareSocket: @unchecked Sendable {
    // Unchecked: the descriptors never change, and each end is used by one thread.
    private let sender: Int32
    private let receiver: Int32
    private let thread = NIOThreadPool(numberOfThreads: 1)

    package init() throws(DejaVuError) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        sender = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (from, to) = (listener, sender)
        let isOpen = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(from, address, length) == 0 && listen(from, 1) == 0 && getsockname(from, address, &length) == 0
                    && connect(to, address, length) == 0
            }
        }
        receiver = isOpen ? accept(listener, nil, nil) : -1
        close(listener)
        guard receiver >= 0 else { throw DejaVuError(.network, "no TCP connection through the loopback interface") }
        var yes: Int32 = 1
        for end in [sender, receiver] {
            setsockopt(end, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
        thread.start()
    }

    deinit {
        close(sender)
        close(receiver)
        thread.shutdownGracefully { _ in }
    }

    /// Sends pieces, each with a call of its own, while the other end receives them all; returns when the other end has
    /// said that it has them.
    ///
    /// - Parameters:
    ///   - checks: both ends compute checksums of what passes.
    ///   - pieces: calls its argument with each piece.
    package func transfer(
        to target: UnsafeMutableRawBufferPointer, checks: Bool,
        pieces: ((UnsafeRawBufferPointer) -> Void) -> Void
    ) throws(DejaVuError) {
        let place = Target(bytes: target)
        let receiver = receiver
        let result = Result32()
        thread.submit { _ in
            var checksum = Checksum()
            var at = 0
            while at < place.bytes.count {
                let end = min(at + BareTransfers.chunkBytes, place.bytes.count)
                let from = at
                while at < end {
                    let count = recv(receiver, place.bytes.baseAddress?.advanced(by: at), end - at, 0)
                    guard count > 0 else { break }
                    at += count
                }
                guard at == end else { break }
                if checks {
                    checksum.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(place.bytes)[from..<end]))
                }
            }
            result.value.withLock { $0 = checksum.value }
            var answer: UInt8 = at == place.bytes.count ? 1 : 0
            send(receiver, &answer, 1, 0)
        }
        var checksum = Checksum()
        let sender = sender
        var isWhole = true
        pieces { piece in
            if checks { checksum.update(piece) }
            var done = 0
            while done < piece.count, isWhole {
                let count = send(
                    sender, piece.baseAddress?.advanced(by: done), piece.count - done, Int32(MSG_NOSIGNAL))
                if count > 0 { done += count } else { isWhole = false }
            }
        }
        var answer: UInt8 = 0
        guard isWhole, recv(sender, &answer, 1, 0) == 1, answer == 1,
            !checks || result.value.withLock({ $0 }) == checksum.value
        else { throw DejaVuError(.network, "the bare transfer lost bytes") }
    }

    private struct Target: @unchecked Sendable {
        // Written by the receiving thread alone until it has answered.
        let bytes: UnsafeMutableRawBufferPointer
    }
    private final class Result32: Sendable {
        let value = Mutex<UInt32>(0)
    }
}
