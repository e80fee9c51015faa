import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

/// A frame on its way into a device. Bytes are gathered to whole layers, so that few copies carry many rows.
final class DeviceLanding: FrameLanding {
    private struct Progress {
        var checksum = Checksum()
        /// Bytes that are not on the device yet.
        var staged = ByteBuffer()
        /// Rows that are.
        var rows = 0
    }

    /// Rows to copy at once: whole layers, or some positions of one.
    private struct Batch {
        let layers: LayerRange
        let positions: Range<Int>
        let bytes: ByteBuffer
    }

    private static let stagedBytesMax = 4 << 20

    private let store: DeviceStore
    private let arrival: Arrival
    private let place: DevicePlace
    private let map: PayloadMap
    private let progress = Mutex(Progress())

    init(_ store: DeviceStore, _ arrival: Arrival, _ place: DevicePlace) {
        self.store = store
        self.arrival = arrival
        self.place = place
        map = PayloadMap(arrival, rowBytes: store.rowBytes)
    }

    func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
        let leave = try store.withBooks { (books, _) throws(DejaVuError) in
            books.take(arrival.id, bytes: bytes.readableBytes)
        }
        switch leave {
        case .swallow: return
        case .tooMany:
            abandon()
            throw DejaVuError(.invalidArgument, "more bytes than the header of \(arrival.span) says")
        case .write: break
        }
        var rest = bytes
        while let piece = rest.readSlice(length: min(rest.readableBytes, Self.stagedBytesMax)), piece.readableBytes > 0
        {
            progress.withLock { progress in
                progress.checksum.update(piece)
                var piece = piece
                progress.staged.writeBuffer(&piece)
            }
            while let batch = nextBatch() { try await copy(batch) }
        }
    }

    func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
        let intact = progress.withLock { $0.checksum.value == checksum && $0.checksum.count == map.byteCount }
        return try await store.finish(arrival.id, intact: intact)
    }

    func abandon() { store.abandon(arrival.id) }

    /// What is to be copied now: when all bytes are there, or as many as may be staged.
    private func nextBatch() -> Batch? {
        progress.withLock { progress in
            let rows = progress.staged.readableBytes / map.rowBytes
            let isComplete = progress.checksum.count == map.byteCount
            guard rows > 0, isComplete || progress.staged.readableBytes >= Self.stagedBytesMax else { return nil }
            let count = arrival.span.positions.count
            let (index, position) = progress.rows.quotientAndRemainder(dividingBy: count)
            let layer = arrival.span.layers.first + index
            let first = arrival.span.positions.lowerBound + position
            let layers = position == 0 ? max(rows / count, 1) : 1
            let taken = layers > 1 ? layers * count : min(rows, count - position)
            guard let bytes = progress.staged.readSlice(length: taken * map.rowBytes) else { return nil }
            progress.rows += taken
            if progress.staged.readableBytes == 0 { progress.staged = ByteBuffer() }
            return Batch(
                layers: LayerRange(layer, layer + layers), positions: first..<first + taken / layers, bytes: bytes)
        }
    }

    private func copy(_ batch: Batch) async throws(DejaVuError) {
        let (store, arrival, place) = (self.store, self.arrival, self.place)
        let leave = try store.withBooks { (books, _) throws(DejaVuError) in books.beginCopy(arrival.id, bytes: 0) }
        guard leave == .write else { return }
        defer { store.settled { books, followup in books.endCopy(arrival.id, &followup) } }
        try await store.copyThread.run { () throws(DejaVuError) in
            if arrival.landsWhole {
                try store.scatter(batch.bytes, batch.layers, batch.positions, to: place)
                return
            }
            // Some rows are committed already, and not to be touched.
            for layer in batch.layers.indices {
                let new = arrival.firstNewPosition(layer)
                guard new < batch.positions.upperBound else { continue }
                let positions = max(new, batch.positions.lowerBound)..<batch.positions.upperBound
                let rows = (layer - batch.layers.first) * batch.positions.count
                let offset = (rows + positions.lowerBound - batch.positions.lowerBound) * store.rowBytes
                guard
                    let bytes = batch.bytes.getSlice(
                        at: batch.bytes.readerIndex + offset, length: positions.count * store.rowBytes)
                else { preconditionFailure("a batch has all its rows") }
                try store.scatter(bytes, LayerRange(layer, layer + 1), positions, to: place)
            }
        }
    }
}

extension Arrival {
    fileprivate func firstNewPosition(_ layer: Int) -> Int {
        for part in parts where part.layers.indices.contains(layer) { return part.positions.lowerBound }
        return span.positions.upperBound
    }
}

extension DeviceStore {
    /// On the copy thread.
    fileprivate func scatter(
        _ bytes: ByteBuffer, _ layers: LayerRange, _ positions: Range<Int>, to place: DevicePlace
    ) throws(DejaVuError) {
        let plan = try plans.toDevice(layers, positions.count)
        let result = bytes.withUnsafeReadableBytes { bytes in
            Result { () throws(DejaVuError) in
                try memory.scatter(bytes, by: plan, cell: place.start + positions.lowerBound)
            }
        }
        try result.get()
    }
}
