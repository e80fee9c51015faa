package import DejaVuCore
package import DejaVuKV
package import DejaVuLib
import Glibc
package import NIOCore
import Synchronization

/// A device's KV memory: real bytes in the device's own order, and copies out of it that take a device's time.
///
/// The memory is filled once, with bytes that differ from place to place; "computing" a row says that it is there. So
/// the processors do what streaming needs and nothing else.
package final class BenchDevice: RunSource, InPlaceSource, @unchecked Sendable {
    // Unchecked for the memory alone, which nobody writes after `init`.

    private struct Place {
        let cell: Int
        var marks: [Int]
    }
    private struct Key: Hashable {
        let layers: LayerRange
        let positions: Int
        let order: Order
    }
    /// Of what a plan makes.
    private enum Order: Hashable {
        case packed, layerByLayer, naive
    }
    private struct State {
        var places: [SequenceID: Place] = [:]
        var plans: [Key: TransferPlan] = [:]
        /// Copies that were submitted.
        var launches = 0
    }

    /// Fits into the first cache.
    private static let blockBytes = 32 << 10

    package let name = "device"
    let shape: StreamShape
    let length: Int
    package let numericClass = NumericClass(parts: ["bench"])
    let layout: KVLayout
    private let profile: DeviceProfile?
    private let queue = EmulatedQueue()
    private let regions: [UnsafeMutableRawBufferPointer]
    private let sources: [UnsafeRawBufferPointer]
    private let state = Mutex(State())

    package var layers: LayerRange { shape.layers }
    package var rowBytes: Int { shape.row.rowBytes }

    /// - Parameter profile: nil copies as fast as the processor does.
    package init(_ shape: StreamShape, length: Int, profile: DeviceProfile?) throws(DejaVuError) {
        self.shape = shape
        self.length = length
        self.profile = profile
        layout = try shape.layout(length: length)
        var regions: [UnsafeMutableRawBufferPointer] = []
        for _ in 0..<layout.regionCount {
            guard let start = malloc(layout.regionBytes + 8) else {
                throw DejaVuError(.resourceExhausted, "no memory for \(layout.totalBytes) bytes of KV")
            }
            regions.append(UnsafeMutableRawBufferPointer(start: start, count: layout.regionBytes + 8))
        }
        self.regions = regions
        let regionBytes = layout.regionBytes
        sources = regions.map { UnsafeRawBufferPointer(start: $0.baseAddress, count: regionBytes) }
        fill()
    }

    deinit { for region in regions { free(region.baseAddress) } }

    private func fill() {
        for (number, region) in regions.enumerated() {
            var word = mix64(UInt64(number + 1))
            for offset in stride(from: 0, to: region.count - 7, by: 8) {
                word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                region.storeBytes(of: word ^ word >> 29, toByteOffset: offset, as: UInt64.self)
            }
        }
    }

    /// Copies submitted so far.
    var launchCount: Int { state.withLock { $0.launches } }

    // MARK: The compute thread's side

    /// A sequence gets a slot; nothing of it is there yet.
    package func open(_ sequence: SequenceID, slot: Int) {
        precondition((0..<shape.batch).contains(slot), "a slot of the batch")
        state.withLock {
            $0.places[sequence] = Place(cell: slot * length, marks: [Int](repeating: 0, count: layers.count))
        }
    }

    func close(_ sequence: SequenceID) { state.withLock { _ = $0.places.removeValue(forKey: sequence) } }

    /// Rows of these layers are there up to a position.
    package func commit(_ sequences: [SequenceID], layers: LayerRange, to mark: Int) {
        state.withLock { state in
            for sequence in sequences {
                for layer in layers.indices { state.places[sequence]?.marks[layer] = mark }
            }
        }
    }

    // MARK: KVStore

    package func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        throw DejaVuError(.unsupported, "nothing is streamed into the benchmark's device")
    }
    package func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        throw DejaVuError(.unsupported, "nothing is streamed into the benchmark's device")
    }
    package func release(_ sequence: SequenceID) async throws(DejaVuError) { close(sequence) }

    package func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        state.withLock { $0.places[sequence]?.marks[layers.indices].min() ?? 0 }
    }

    package func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBuffer()
        try await read(span, into: &buffer)
        return buffer
    }

    package func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        let (plan, cell) = try plan(for: span, as: .packed)
        if let profile {
            // A kernel packs each kind of run into staging memory there, and one copy brings it over.
            charge(plan.nests.count + 1, profile)
            queue.charge(.seconds(Double(plan.byteCount * shape.byteScale) / profile.hostBytesPerSecond))
        }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: plan.byteCount) { target in
            RunCopier.copy(
                plan, source: cell, destination: 0, from: sources,
                to: [UnsafeMutableRawBufferPointer(rebasing: target[..<plan.byteCount])])
            return plan.byteCount
        }
        if profile != nil { await queue.drain() }
    }

    package func copy(_ span: Span, to memory: RowMemory) async throws(DejaVuError) -> UInt32 {
        var checksum = Checksum()
        if span.rowCount * rowBytes <= Self.blockBytes || profile != nil {
            let (plan, cell) = try plan(for: span, as: .layerByLayer)
            if let profile {
                // A kernel packs each kind of run into staging memory there, and one copy brings it over.
                charge(plan.nests.count + 1, profile)
                queue.charge(.seconds(Double(plan.byteCount * shape.byteScale) / profile.hostBytesPerSecond))
            }
            RunCopier.copy(plan, source: cell, destination: 0, from: sources, to: memory.layers)
            for layer in memory.layers { checksum.update(UnsafeRawBufferPointer(layer)) }
            if profile != nil { await queue.drain() }
            return checksum.value
        }
        try check(span)
        // Block by block, so that the checksum finds in the cache what was copied.
        let blockPositions = max(1, min(Self.blockBytes / rowBytes, span.positions.count))
        for (layer, target) in zip(span.layers.indices, memory.layers) {
            var known: (plan: TransferPlan, cell: Int, count: Int)?
            for first in stride(from: 0, to: span.positions.count, by: blockPositions) {
                let count = min(blockPositions, span.positions.count - first)
                if known?.count != count {
                    let start = span.positions.lowerBound + first
                    let block = Span(
                        sequence: span.sequence, layers: LayerRange(layer, layer + 1), positions: start..<start + count)
                    let (plan, cell) = try plan(for: block, as: .layerByLayer)
                    known = (plan, cell - first, count)
                }
                guard let (plan, firstCell, _) = known else { preconditionFailure("the plan was made above") }
                let place = UnsafeMutableRawBufferPointer(
                    rebasing: target[first * rowBytes..<(first + count) * rowBytes])
                RunCopier.copy(plan, source: firstCell + first, destination: 0, from: sources, to: [place])
                checksum.update(UnsafeRawBufferPointer(place))
            }
        }
        return checksum.value
    }

    /// The naive way gives runs in the order in which they lie here, as between two devices of one layout.
    package func runs(
        of span: Span, merging: Bool, _ body: (ByteBuffer) async throws(DejaVuError) -> Void
    ) async throws(DejaVuError) {
        guard !merging else {
            throw DejaVuError(.unsupported, "runs that were merged are packed by the benchmark's device")
        }
        for layer in span.layers.indices {
            let part = Span(sequence: span.sequence, layers: LayerRange(layer, layer + 1), positions: span.positions)
            let (plan, cell) = try plan(for: part, as: .naive)
            for run in plan.runs(source: cell, destination: 0) {
                if let profile {
                    charge(1, profile)
                    await queue.pace()
                }
                let bytes = regions[run.sourceRegion][run.sourceOffset..<run.sourceOffset + run.bytes]
                try await body(ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: bytes)))
            }
            queue.charge(
                .seconds(Double(plan.byteCount * shape.byteScale) / (profile?.hostBytesPerSecond ?? .infinity)))
        }
        if profile != nil { await queue.drain() }
    }

    private func charge(_ launches: Int, _ profile: DeviceProfile) {
        state.withLock { $0.launches += launches }
        queue.charge(.seconds(Double(launches) * profile.launchSeconds))
    }

    /// All of the memory.
    var memory: [UnsafeRawBufferPointer] { sources }

    /// Contiguous runs of so many positions of one sequence.
    package func naiveRunCount(positions: Int) throws(DejaVuError) -> Int {
        try TransferPlan(naiveFrom: layout, layers: layers, positionCount: positions).runCount
    }

    /// Throws unless all of a span's rows are there.
    private func check(_ span: Span) throws(DejaVuError) {
        let isThere = state.withLock { state in
            state.places[span.sequence]?.marks[span.layers.indices].allSatisfy { $0 >= span.positions.upperBound }
        }
        guard isThere == true else { throw DejaVuError(.notFound, "\(span) is not computed") }
    }

    private func plan(for span: Span, as order: Order) throws(DejaVuError) -> (TransferPlan, cell: Int) {
        let key = Key(layers: span.layers, positions: span.positions.count, order: order)
        let (known, place) = state.withLock { ($0.plans[key], $0.places[span.sequence]) }
        guard let place, place.marks[span.layers.indices].allSatisfy({ $0 >= span.positions.upperBound }) else {
            throw DejaVuError(.notFound, "\(span) is not computed")
        }
        let plan: TransferPlan
        if let known {
            plan = known
        } else {
            let (layers, count) = (span.layers, span.positions.count)
            plan =
                switch order {
                case .naive: try TransferPlan(naiveFrom: layout, layers: layers, positionCount: count)
                case .packed:
                    try TransferPlan(
                        from: layout, to: try .packedRows(shape.row, layers: layers, positionCount: count),
                        layers: layers, positionCount: count)
                case .layerByLayer:
                    try TransferPlan(
                        from: layout, to: try .packedLayers(shape.row, layers: layers, positionCount: count),
                        layers: layers, positionCount: count)
                }
            state.withLock { $0.plans[key] = plan }
        }
        return (plan, place.cell + span.positions.lowerBound)
    }
}
