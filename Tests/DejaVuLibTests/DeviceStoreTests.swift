import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Testing

private let layers = LayerRange(2, 6)

/// Layouts that devices use, for 6 sequences of 100 positions.
private enum DeviceLayout: String, CaseIterable {
    case ggml, ggmlTransposed, fasterTransformer, packed

    func layout() throws -> KVLayout {
        let row = try KVRow(headCount: 3, headSize: 8, elementBytes: 2)
        return switch self {
        case .ggml: try .ggml(row, layers: layers, cellCount: 6 * 256)
        case .ggmlTransposed: try .ggml(row, layers: layers, cellCount: 6 * 256, transposedValues: true)
        case .fasterTransformer: try .fasterTransformer(row, layers: layers, batch: 6, length: 100, x: 4)
        case .packed: try .packedRows(row, layers: layers, positionCount: 6 * 256)
        }
    }
}

private func cost() -> EmulatedDevice.Cost {
    var cost = EmulatedDevice.Cost()
    cost.launch = .zero
    return cost
}

private func store(_ kind: DeviceLayout = .ggml) throws -> (store: DeviceStore, device: EmulatedDevice) {
    let layout = try kind.layout()
    let device = try EmulatedDevice(layout: layout, cost: cost())
    return (try DeviceStore(name: "device", layout: layout, memory: device, numericClass: storeClass), device)
}

@Test(arguments: DeviceLayout.allCases)
private func deviceStore_contract_holdsInEveryLayout(kind: DeviceLayout) async throws {
    let (store, _) = try store(kind)
    try await checkStoreContract(store, rowBytes: store.rowBytes)
    store.checkIntegrity()
    #expect(store.rowBytes == 96)
}

@Test(arguments: DeviceLayout.allCases)
private func deviceStore_landedRows_lieWhereTheLayoutSays(kind: DeviceLayout) async throws {
    let (store, device) = try store(kind)
    let layout = store.layout
    try await store.open(ticket(1, 1), tokens: [])
    try await store.open(ticket(2, 2), tokens: [])
    try await store.land(span(2, 0..<100), ticket(2, 2), chunk: 5000)
    let first = layout.slots == 1 ? 256 : 100
    for layer in layers.indices {
        for position in [0, 1, 57, 99] {
            let row = store.rows.row(SequenceID(2), layer: layer, position: position)
            for plane in KVPlane.allCases {
                for (head, element) in [(0, 0), (1, 5), (2, 7)] {
                    let (region, offset) = layout.address(
                        of: plane, layer: layer, cell: first + position, head: head, element: element)
                    let packed = plane.rawValue * 48 + (head * 8 + element) * 2
                    let bytes = device.withRegion(region) { [$0[offset], $0[offset + 1]] }
                    #expect(bytes == [row[packed], row[packed + 1]])
                }
            }
        }
    }
}

@Test(arguments: DeviceLayout.allCases, [true, false])
private func deviceStore_runs_areThePackedRows(kind: DeviceLayout, merging: Bool) async throws {
    let (store, _) = try store(kind)
    try await store.open(ticket(1, 1), tokens: [])
    try await store.land(span(1, 0..<60), ticket(1, 1))
    let wanted = span(1, LayerRange(3, 5), 7..<50)
    let collected = Collected()
    try await store.runs(of: wanted, merging: merging) { run throws(DejaVuError) in await collected.add(run) }
    #expect(await collected.bytes == store.rows.packed(wanted))
    if kind == .packed { #expect(await collected.count == (merging ? 2 : 2 * 43 * 2)) }
}

private actor Collected {
    var bytes = ByteBuffer()
    var count = 0
    func add(_ run: ByteBuffer) {
        var run = run
        bytes.writeBuffer(&run)
        count += 1
    }
}

@Test func deviceStore_passesAndFrames_shareTheCells() async throws {
    let (store, device) = try store()
    let own = ticket(1, 1)
    try store.open(own, tokens: MadeUpRows.tokens(SequenceID(1), 0..<4), cells: CellRun(start: 512, count: 256))
    #expect(await code { try await store.open(ticket(2, 2), tokens: []) } == .invalidArgument)
    for cells in [CellRun(start: 256, count: 512), CellRun(start: 1536, count: 256)] {
        let answer = await code { try store.open(ticket(2, 2), tokens: [], cells: cells) }
        #expect(answer == .invalidArgument)
    }

    // A prompt of the engine's own.
    try run(store, device, span(1, 0..<40))
    try await store.expectRows(span(1, 0..<40))
    // A replay of the middle writes nothing; one that overlaps writes what is new.
    guard
        case .known(40) = try store.beginPass(span(1, 3..<9), tokens: MadeUpRows.tokens(SequenceID(1), 3..<9))
    else { throw DejaVuError(.internalError, "not known") }
    try run(store, device, span(1, 39..<41))
    // A frame for some layers, and then a pass over all.
    try await store.land(span(1, LayerRange(2, 4), 41..<50), own)
    guard case .gap(41) = try store.beginPass(span(1, 45..<46), tokens: MadeUpRows.tokens(SequenceID(1), 45..<46))
    else { throw DejaVuError(.internalError, "no gap") }
    try run(store, device, span(1, 41..<50))
    try await store.expectRows(span(1, 0..<50))
    let unknown = await code { _ = try store.beginPass(span(1, 0..<1), tokens: [-5]) }
    #expect(unknown == .mismatch)
    store.checkIntegrity()
}

@Test func deviceStore_releasedDuringAPass_waitsForTheEngine() async throws {
    let (store, device) = try store()
    let own = ticket(1, 1)
    try await store.open(own, tokens: [])
    let tokens = MadeUpRows.tokens(SequenceID(1), 0..<4)
    guard case .run(let pass) = try store.beginPass(span(1, 0..<4), tokens: tokens) else { return }
    let release = Task { try await store.release(SequenceID(1)) }
    while await code(of: { _ = try store.beginPass(span(1, 0..<4), tokens: tokens) }) != .refused {
        await Task.yield()
    }
    let outcome = await code { _ = try pass.commit() }
    #expect(outcome == .refused)
    try await release.value
    _ = device
    store.checkIntegrity()
}

/// What an engine does: writes the new rows of a span where they belong, and commits them.
private func run(_ store: DeviceStore, _ device: EmulatedDevice, _ span: Span) throws {
    let tokens = MadeUpRows.tokens(span.sequence, span.positions)
    guard case .run(let pass) = try store.beginPass(span, tokens: tokens) else {
        throw DejaVuError(.internalError, "\(span) was not admitted")
    }
    for part in pass.parts {
        for layer in part.layers.indices {
            for position in part.positions {
                let row = store.rows.row(span.sequence, layer: layer, position: position)
                for plane in KVPlane.allCases {
                    let (region, offset) = store.layout.address(
                        of: plane, layer: layer, cell: pass.firstCell + position, head: 0, element: 0)
                    device.withRegion(region) { bytes in
                        for byte in 0..<48 { bytes[offset + byte] = row[plane.rawValue * 48 + byte] }
                    }
                }
            }
        }
    }
    try pass.commit()
}

@Test func deviceStore_noCellsLeft_refusesWithTheNumbers() async throws {
    let (store, _) = try store()
    for number in 1...6 { try await store.open(ticket(UInt64(number), UInt64(number)), tokens: []) }
    let seventh = ticket(7, 7)
    do throws(DejaVuError) {
        try await store.open(seventh, tokens: [])
        Issue.record("more cells than there are")
    } catch {
        #expect(error.code == .resourceExhausted)
        #expect(error.message.contains("0 of 1536"))
    }
    try await store.release(SequenceID(3))
    try await store.open(ticket(8, 8), tokens: [])
    store.checkIntegrity()
}

@Test func emulatedDevice_copies_areAccountedAsTheyCost() async throws {
    var cost = EmulatedDevice.Cost()
    cost.byteScale = 64
    #expect(cost.time(launches: 10, bytes: 25_000_000) == .seconds(0.06406))
    cost.launch = .zero
    cost.gathersInOneLaunch = false
    let layout = try DeviceLayout.fasterTransformer.layout()
    let device = try EmulatedDevice(layout: layout, cost: cost)
    let store = try DeviceStore(name: "device", layout: layout, memory: device, numericClass: storeClass)
    try await store.open(ticket(1, 1), tokens: [])
    try await store.land(span(1, 0..<100), ticket(1, 1))
    let before = device.usage
    #expect(before.bytes == 4 * 100 * 96)
    _ = try await store.read(span(1, 0..<50))
    let launches = device.usage.launches - before.launches
    let bytes = device.usage.bytes - before.bytes
    let blocks = 4 * 50 * 3 * 2
    #expect(launches == blocks + 4 * 50 * 3, "blocks of K, heads of V")
    #expect(bytes == 4 * 50 * 96)
    var senseless = cost
    senseless.bytesPerSecond = 0
    do {
        _ = try EmulatedDevice(layout: layout, cost: senseless)
        Issue.record("a link without bandwidth")
    } catch { #expect(error.code == .invalidArgument) }
}
