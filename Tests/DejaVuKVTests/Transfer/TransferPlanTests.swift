import DejaVuCore
import DejaVuKV
import Foundation
import Testing

/// `DEJAVU_COUNT` random pairs, a few in `make test`.
private let pairCount: UInt64 =
    ProcessInfo.processInfo.environment["DEJAVU_COUNT"].flatMap { UInt64($0) } ?? 2000

@Test func transferPlan_randomLayouts_moveEveryByteOnceThereAndBack() throws {
    var coalesced = 0
    var cornered = 0
    var apart = 0
    for seed in 0..<pairCount {
        let pair = try LayoutCase.drawn(seed: seed)
        let elements = pair.elementRuns
        let plan = try TransferPlan(
            from: pair.source, to: pair.destination, layers: pair.layers, positionCount: pair.positionCount)
        let original = TracedMemory.full(pair.source)
        var expected = TracedMemory(pair.destination)
        for run in elements { _ = expected.take(run, from: original) }
        var arrived = TracedMemory(pair.destination)
        var runs = 0
        var once = true
        for run in plan.runs(source: pair.sourceCell, destination: pair.destinationCell) {
            runs += 1
            once = arrived.take(run, from: original) && once
        }
        try #require(once, "seed \(seed): a byte was written twice")
        try #require(arrived.regions == expected.regions, "seed \(seed): a byte went elsewhere")
        try #require(runs == plan.runCount, "seed \(seed): \(runs) runs, not \(plan.runCount)")
        let fewest = LayoutCase.fewest(elements)
        if pair.splitsNest {
            try #require(plan.runCount == fewest, "seed \(seed): \(plan.runCount) runs, \(fewest) would do")
        } else {
            try #require(plan.runCount >= fewest, "seed \(seed): fewer runs than there can be")
            apart += 1
        }
        if fewest < elements.count { coalesced += 1 }
        if plan.nests.reduce(0, { $0 + $1.turnCount }) > plan.runCount { cornered += 1 }
        let back = try TransferPlan(
            from: pair.destination, to: pair.source, layers: pair.layers, positionCount: pair.positionCount)
        var returned = TracedMemory(pair.source)
        for run in back.runs(source: pair.destinationCell, destination: pair.sourceCell) {
            once = returned.take(run, from: arrived) && once
        }
        for run in elements {
            for byte in 0..<run.bytes {
                let place = run.sourceOffset + byte
                once = once && returned.regions[run.sourceRegion][place] == original.regions[run.sourceRegion][place]
            }
        }
        try #require(once && back.byteCount == plan.byteCount, "seed \(seed): it did not come back")
    }
    #expect(coalesced > 0 && cornered > 0 && apart > 0, "the pairs do not reach what they are to test")
    print("\(pairCount) pairs: \(coalesced) coalesced, \(cornered) with corners, \(apart) with splits apart")
}

@Test func transferPlan_naive_movesEverySourceRunByItself() throws {
    for seed in 0..<min(pairCount, 2000) {
        let pair = try LayoutCase.drawn(seed: seed)
        let plan = try TransferPlan(
            naiveFrom: pair.source, layers: pair.layers, positionCount: pair.positionCount)
        // The source's contiguous runs of one layer and plane, however the destination looks.
        let row = pair.source.row
        let elements = pair.elementRuns
        let each = pair.positionCount * row.headCount * row.headSize
        var fewest = 0
        for start in stride(from: 0, to: elements.count, by: each) {
            let offsets = Set(elements[start..<start + each].map(\.sourceOffset))
            fewest += offsets.filter { !offsets.contains($0 - row.elementBytes) }.count
        }
        let runs = Array(plan.runs(source: pair.sourceCell, destination: 0))
        try #require(runs.count == plan.runCount, "seed \(seed)")
        try #require(runs.count >= fewest, "seed \(seed): \(runs.count) naive runs, \(fewest) expected")
        var taken = TracedMemory(
            try KVLayout.packedRows(row, layers: pair.layers, positionCount: pair.positionCount))
        let original = TracedMemory.full(pair.source)
        var once = true
        for run in runs { once = taken.take(run, from: original) && once }
        let sent = taken.regions[0].sorted()
        let wanted = elements.flatMap { run in
            (0..<run.bytes).map { original.regions[run.sourceRegion][run.sourceOffset + $0] }
        }
        try #require(once && sent == wanted.sorted(), "seed \(seed): not every byte was sent once")
    }
}

@Test func transferPlan_stepOfSmolLM2_isOneLoopOverLayersAndPlanes() throws {
    let row = try KVRow(headCount: 3, headSize: 64, elementBytes: 2)
    let layers = LayerRange(0, 30)
    let memory = try KVLayout.ggml(row, layers: layers, cellCount: 2048)
    let packed = try KVLayout.packedRows(row, layers: layers, positionCount: 1)
    let plan = try TransferPlan(from: memory, to: packed, layers: layers, positionCount: 1)
    #expect(plan.runCount == 60 && plan.byteCount == 30 * 768)
    #expect(plan.nests.count == 1 && plan.nests.first?.loops.map(\.count) == [60])
    let later = Array(plan.runs(source: 700, destination: 0))
    #expect(later.first?.sourceOffset == 700 * 384 && later.last?.sourceRegion == 59)
    // The part of a frame that the receiver lacks: other layers, and not from the frame's first position on.
    let part = try TransferPlan(
        from: try KVLayout.packedRows(row, layers: LayerRange(4, 8), positionCount: 10), to: memory,
        layers: LayerRange(5, 7), positionCount: 4)
    #expect(part.runs(source: 6, destination: 256).first { _ in true }?.sourceOffset == (1 * 10 + 6) * 768)
}

@Test func transferPlan_stepOfFasterTransformer_hasAKeyRunForEachBlock() throws {
    // OPT-66B: 72 heads of 128, half precision, 64 layers; one token of one sequence of a batch of 8.
    let row = try KVRow(headCount: 72, headSize: 128, elementBytes: 2)
    let layers = LayerRange(0, 64)
    let memory = try KVLayout.fasterTransformer(row, layers: layers, batch: 8, length: 1024, x: 8)
    let naive = try TransferPlan(naiveFrom: memory, layers: layers, positionCount: 1)
    #expect(naive.runCount == 64 * (72 * 16 + 72))
    let packed = try KVLayout.packedRows(row, layers: layers, positionCount: 1)
    let plan = try TransferPlan(from: memory, to: packed, layers: layers, positionCount: 1)
    #expect(plan.runCount == naive.runCount && plan.nests.count == 2)
    let same = try TransferPlan(from: memory, to: memory, layers: layers, positionCount: 1024)
    #expect(same.runCount == 2 * 64, "a whole slot is contiguous in each layer")
}

@Test func kvLayout_wrongOrders_areRefused() throws {
    let row = try KVRow(headCount: 2, headSize: 8, elementBytes: 2)
    let layers = LayerRange(0, 2)
    func layout(
        _ keys: [KVAxis], split: Int? = nil, values: [KVAxis]? = nil, regions: KVLayout.Regions = .perPlane,
        slots: Int = 1
    ) throws(DejaVuError) -> KVLayout {
        try KVLayout(
            row: row, layers: layers, slots: slots, slotLength: 4, regions: regions,
            keys: KVLayout.Order(keys, split: split), values: KVLayout.Order(values ?? keys, split: split))
    }
    let good: [KVAxis] = [.layer, .head, .position, .element]
    #expect(try layout(good).totalBytes == 2 * 2 * 2 * 4 * 8 * 2)
    #expect(throws: DejaVuError.self) { try layout([.head, .position, .element]) }
    #expect(throws: DejaVuError.self) { try layout(good + [.element]) }
    #expect(throws: DejaVuError.self) { try layout([.layer, .plane, .head, .position, .element]) }
    #expect(throws: DejaVuError.self) { try layout(good, slots: 2) }
    #expect(throws: DejaVuError.self) { try layout(good, split: 3) }
    #expect(throws: DejaVuError.self) { try layout(good, split: 4) }
    #expect(throws: DejaVuError.self) {
        try layout(
            [.plane] + good, values: [.layer, .plane, .head, .position, .element], regions: .single)
    }
}

@Test func kvLayout_absurdShapes_areRefusedWithoutOverflow() throws {
    #expect(throws: DejaVuError.self) { try KVRow(headCount: .max, headSize: 2, elementBytes: 2) }
    #expect(throws: DejaVuError.self) { try KVRow(headCount: 1, headSize: 0, elementBytes: 2) }
    let row = try KVRow(headCount: 8, headSize: 128, elementBytes: 2)
    #expect(throws: DejaVuError.self) {
        try KVLayout.ggml(row, layers: LayerRange(0, 80), cellCount: .max / 1024)
    }
    #expect(throws: DejaVuError.self) { try KVLayout.packedRows(row, layers: LayerRange(0, 0), positionCount: 1) }
    #expect(row.bytes(layers: 80, positions: .max / 80) == nil)
    #expect(row.bytes(layers: 80, positions: 10) == 80 * 10 * 4096)
    #expect(row.positions(inBytes: 80 * 4096 * 3 + 1, layers: 80) == 3)
    #expect(row.positions(inBytes: -1, layers: 80) == 0 && row.positions(inBytes: 1, layers: .max) == 0)
}

@Test func transferPlan_sidesThatDoNotFit_areRefused() throws {
    let layers = LayerRange(0, 4)
    let row = try KVRow(headCount: 2, headSize: 8, elementBytes: 2)
    let other = try KVRow(headCount: 2, headSize: 16, elementBytes: 1)
    let memory = try KVLayout.ggml(row, layers: layers, cellCount: 8)
    let wrong = try KVLayout.ggml(other, layers: layers, cellCount: 8)
    #expect(throws: DejaVuError.self) {
        try TransferPlan(from: memory, to: wrong, layers: layers, positionCount: 1)
    }
    #expect(throws: DejaVuError.self) {
        try TransferPlan(from: memory, to: memory, layers: LayerRange(3, 5), positionCount: 1)
    }
    #expect(throws: DejaVuError.self) {
        try TransferPlan(from: memory, to: memory, layers: layers, positionCount: 9)
    }
}
