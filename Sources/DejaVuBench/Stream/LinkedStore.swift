package import DejaVuCore
package import DejaVuKV
package import DejaVuLib
package import NIOCore

/// A store behind an emulated link: what is landed takes the time that a link of that rate would take.
package final class LinkedStore: KVStore {
    private let store: any KVStore
    private let queue = EmulatedQueue()
    private let byteScale: Int
    private let bytesPerSecond: Double

    package init(_ store: any KVStore, byteScale: Int, bytesPerSecond: Double) {
        self.store = store
        self.byteScale = byteScale
        self.bytesPerSecond = bytesPerSecond
    }

    package var name: String { "\(store.name) behind a link" }
    package var layers: LayerRange { store.layers }
    package var rowBytes: Int { store.rowBytes }
    package var numericClass: NumericClass { store.numericClass }

    package func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try await store.open(ticket, tokens: tokens)
    }
    package func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        try await store.watermark(of: sequence, layers: layers)
    }
    package func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer { try await store.read(span) }
    package func release(_ sequence: SequenceID) async throws(DejaVuError) { try await store.release(sequence) }

    package func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
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
