import DejaVuCore
import DejaVuKV
import DejaVuLib
import Glibc
import NIOCore
import Synchronization

/// A device's KV memory: real bytes in the device's own order, and copies out of it that take a device's time.
///
/// The memory is filled once, with bytes that differ from place to place; "computing" a row says that it is there. So
/// the processors do what streaming needs and nothing else.
final class BenchDevice: RunSource, @unchecked Sendable {
    // Unchecked for the memory alone, which nobody writes after `init`.

    private struct Place {
        let cell: Int
        var marks: [Int]
    }
    private struct Key: Hashable {
        let layers: LayerRange
        let positions: Int
        let isNaive: Bool
    }
    private struct State {
        var places: [SequenceID: Place] = [:]
        var plans: [Key: TransferPlan] = [:]
        /// Copies that were submitted.
        var launches = 0
    }

    let name = "device"
    let shape: StreamShape
    let length: Int
    let numericClass = NumericClass(parts: ["bench"])
    let layout: KVLayout
    private let profile: DeviceProfile?
    private let queue = EmulatedQueue()
    private let regions: [UnsafeMutableRawBufferPointer]
    private let state = Mutex(State())

    var layers: LayerRange { shape.layers }
    var rowBytes: Int { shape.row.rowBytes }

    /// - Parameter profile: nil copies as fast as the processor does.
    init(_ shape: StreamShape, length: Int, profile: DeviceProfile?) throws(DejaVuError) {
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
    func open(_ sequence: SequenceID, slot: Int) {
        precondition((0..<shape.batch).contains(slot), "a slot of the batch")
        state.withLock {
            $0.places[sequence] = Place(cell: slot * length, marks: [Int](repeating: 0, count: layers.count))
        }
    }

    func close(_ sequence: SequenceID) { state.withLock { _ = $0.places.removeValue(forKey: sequence) } }

    /// Rows of these layers are there up to a position.
    func commit(_ sequences: [SequenceID], layers: LayerRange, to mark: Int) {
        state.withLock { state in
            for sequence in sequences {
                for layer in layers.indices { state.places[sequence]?.marks[layer] = mark }
            }
        }
    }

    // MARK: KVStore

    func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        throw DejaVuError(.unsupported, "nothing is streamed into the benchmark's device")
    }
    func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        throw DejaVuError(.unsupported, "nothing is streamed into the benchmark's device")
    }
    func release(_ sequence: SequenceID) async throws(DejaVuError) { close(sequence) }

    func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        state.withLock { $0.places[sequence]?.marks[layers.indices].min() ?? 0 }
    }

    func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBuffer()
        try await read(span, into: &buffer)
        return buffer
    }

    func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        let (plan, cell) = try plan(for: span, isNaive: false)
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

    /// The naive way gives runs in the order in which they lie here, as between two devices of one layout.
    func runs(
        of span: Span, merging: Bool, _ body: (ByteBuffer) async throws(DejaVuError) -> Void
    ) async throws(DejaVuError) {
        guard !merging else {
            throw DejaVuError(.unsupported, "runs that were merged are packed by the benchmark's device")
        }
        for layer in span.layers.indices {
            let part = Span(sequence: span.sequence, layers: LayerRange(layer, layer + 1), positions: span.positions)
            let (plan, cell) = try plan(for: part, isNaive: true)
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

    private var sources: [UnsafeRawBufferPointer] {
        regions.map { UnsafeRawBufferPointer(start: $0.baseAddress, count: layout.regionBytes) }
    }

    /// Contiguous runs of so many positions of one sequence.
    func naiveRunCount(positions: Int) throws(DejaVuError) -> Int {
        try TransferPlan(naiveFrom: layout, layers: layers, positionCount: positions).runCount
    }

    private func plan(for span: Span, isNaive: Bool) throws(DejaVuError) -> (TransferPlan, cell: Int) {
        let key = Key(layers: span.layers, positions: span.positions.count, isNaive: isNaive)
        let (known, place) = state.withLock { ($0.plans[key], $0.places[span.sequence]) }
        guard let place, place.marks[span.layers.indices].allSatisfy({ $0 >= span.positions.upperBound }) else {
            throw DejaVuError(.notFound, "\(span) is not computed")
        }
        let plan: TransferPlan
        if let known {
            plan = known
        } else {
            let packed = try KVLayout.packedRows(
                shape.row, layers: span.layers, positionCount: span.positions.count)
            plan =
                isNaive
                ? try TransferPlan(naiveFrom: layout, layers: span.layers, positionCount: span.positions.count)
                : try TransferPlan(
                    from: layout, to: packed, layers: span.layers, positionCount: span.positions.count)
            state.withLock { $0.plans[key] = plan }
        }
        return (plan, place.cell + span.positions.lowerBound)
    }
}
