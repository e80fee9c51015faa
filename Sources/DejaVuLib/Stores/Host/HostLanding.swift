import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

/// A frame on its way into a host store's arena.
struct HostLanding: InPlaceLanding, ImmediateLanding {
    private struct Progress {
        var bytes = 0
        var checksum = Checksum()
    }

    private let store: HostStore
    private let arrival: Arrival
    private let place: HostPlace
    private let map: PayloadMap
    private let progress: Shared

    /// A landing is a value that is handed around; its progress is one.
    private final class Shared: Sendable {
        let value = Mutex(Progress())
    }

    init(_ store: HostStore, _ arrival: Arrival, _ place: HostPlace) {
        self.store = store
        self.arrival = arrival
        self.place = place
        map = PayloadMap(arrival, rowBytes: store.rowBytes)
        progress = Shared()
    }

    func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
        var rest = bytes
        while let piece = rest.readSlice(length: min(rest.readableBytes, HostStore.pieceBytesMax)),
            piece.readableBytes > 0
        {
            try writeNow(piece)
            if rest.readableBytes > 0 { await Task.yield() }
        }
    }

    func writeNow(_ bytes: ByteBuffer) throws(DejaVuError) {
        let leave = try store.withBooks { (books, _) throws(DejaVuError) in
            books.beginCopy(arrival.id, bytes: bytes.readableBytes)
        }
        switch leave {
        case .swallow: return
        case .tooMany:
            abandon()
            throw DejaVuError(.invalidArgument, "more bytes than the header of \(arrival.span) says")
        case .write: break
        }
        progress.value.withLock { progress in
            bytes.withUnsafeReadableBytes { bytes in
                store.copy(bytes, of: map, at: progress.bytes, to: place, checksum: &progress.checksum)
            }
            progress.bytes += bytes.readableBytes
        }
        store.settled { books, followup in books.endCopy(arrival.id, &followup) }
    }

    func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
        let intact = progress.value.withLock { $0.checksum.value == checksum }
        return try await store.finish(arrival.id, intact: intact)
    }

    var inPlace: (any InPlaceLanding)? { arrival.landsWhole ? self : nil }

    func fill(from source: any InPlaceSource) async throws(DejaVuError) -> UInt32 {
        let leave = try store.withBooks { (books, _) throws(DejaVuError) in
            books.beginCopy(arrival.id, bytes: arrival.payloadBytes)
        }
        // Without leave nothing is written, and the ledger says why at the end.
        guard leave == .write else { return 0 }
        let memory = store.memory(of: arrival.span, in: place)
        let result: Result<UInt32, DejaVuError>
        do throws(DejaVuError) {
            result = .success(try await source.copy(arrival.span, to: memory))
        } catch { result = .failure(error) }
        store.settled { books, followup in books.endCopy(arrival.id, &followup) }
        let checksum = try result.get()
        progress.value.withLock { $0.checksum = Checksum(value: checksum, count: arrival.payloadBytes) }
        return checksum
    }

    func finishNow(checksum: UInt32) throws(DejaVuError) -> Int? {
        let intact = progress.value.withLock { $0.checksum.value == checksum }
        return try store.finishNow(arrival.id, intact: intact)
    }

    func finished() async throws(DejaVuError) -> Int { try await store.finished(arrival.id) }

    func abandon() { store.abandon(arrival.id) }
}
