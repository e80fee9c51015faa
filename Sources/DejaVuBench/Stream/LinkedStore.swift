import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore

/// A store behind an emulated link: what is landed takes the time that a link of that rate would take.
final class LinkedStore: KVStore {
    private let store: any KVStore
    private let queue = EmulatedQueue()
    private let byteScale: Int
    private let bytesPerSecond: Double

    init(_ store: any KVStore, byteScale: Int, bytesPerSecond: Double) {
        self.store = store
        self.byteScale = byteScale
        self.bytesPerSecond = bytesPerSecond
    }

    var name: String { "\(store.name) behind a link" }
    var layers: LayerRange { store.layers }
    var rowBytes: Int { store.rowBytes }
    var numericClass: NumericClass { store.numericClass }

    func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try await store.open(ticket, tokens: tokens)
    }
    func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        try await store.watermark(of: sequence, layers: layers)
    }
    func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer { try await store.read(span) }
    func release(_ sequence: SequenceID) async throws(DejaVuError) { try await store.release(sequence) }

    func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        switch try await store.begin(header) {
        case .land(let landing): .land(Landing(store: self, landing: landing))
        case .known(let watermark): .known(watermark: watermark)
        case .gap(let watermark): .gap(watermark: watermark)
        }
    }

    private struct Landing: FrameLanding {
        let store: LinkedStore
        let landing: any FrameLanding

        func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
            store.queue.charge(.seconds(Double(bytes.readableBytes * store.byteScale) / store.bytesPerSecond))
            try await landing.write(bytes)
            await store.queue.pace()
        }
        func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
            await store.queue.drain()
            return try await landing.finish(checksum: checksum)
        }
        func abandon() { landing.abandon() }
    }
}
