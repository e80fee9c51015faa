import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Synchronization

/// A frame on its way into a stage's cells. Its bytes are kept until all are there: nothing is written of a frame that
/// does not come whole.
final class StageLanding: FrameLanding {
    private let store: StageStore
    private let arrival: Arrival
    private let cells: CellRun
    private let transfer: TracedTransfer
    private let rows = Mutex(ByteBuffer())

    init(store: StageStore, arrival: Arrival, cells: CellRun, transfer: TracedTransfer) {
        self.store = store
        self.arrival = arrival
        self.cells = cells
        self.transfer = transfer
    }

    func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
        let fits = rows.withLock { rows in
            guard rows.readableBytes + bytes.readableBytes <= arrival.payloadBytes else { return false }
            rows.writeImmutableBuffer(bytes)
            return true
        }
        guard !fits else { return }
        abandon()
        throw DejaVuError(.invalidArgument, "more bytes than the header of \(arrival.span) says")
    }

    func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
        let rows = self.rows.withLock { $0 }
        let watermark = try store.finish(arrival, cells: cells, rows: rows, intact: Checksum.of(rows) == checksum)
        store.traced(transfer)
        return watermark
    }

    func abandon() { store.abandon(arrival.id, of: arrival.span.sequence) }
}
