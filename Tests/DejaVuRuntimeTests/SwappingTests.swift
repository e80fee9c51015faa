import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import DejaVuLib
import DejaVuRuntime
import Glibc
import Testing

private let rowBytes = profile.kvBytesPerPositionAndLayer
private let granule = CellRun.granularity * profile.kvBytesPerPositionAndLayer * profile.layerCount

/// An engine whose device holds `device` cells and whose memory below has `cells`.
private func engine(device: Int, cells: Int, _ resources: SwapResources) throws -> SwappingEngine {
    let layers = LayerRange(0, profile.layerCount)
    return try SwappingEngine(
        device: EmulatedEngine(profile: profile, layers: layers, cellCount: device), cellCount: cells,
        resources: resources, progress: ProgressCounter())
}

private func record(_ id: UInt64, prompt: Int, outputs: Int) -> SequenceRecord {
    SequenceRecord(
        id: SequenceID(id), request: RequestID(id), choice: 0,
        prompt: (0..<prompt).map { TokenID(($0 * 7 + Int(id)) % profile.vocabularyCount) }, sampling: .greedy,
        outputCountMax: outputs, stopTokens: [])
}

enum Below: String, CaseIterable { case host, file, both }

/// The memory below for so many cells of all layers.
private func resources(_ below: Below, cells: Int, in directory: String) -> SwapResources {
    let bytes = cells / CellRun.granularity * granule
    switch below {
    case .host: return SwapResources(hostBytes: bytes)
    case .file: return SwapResources(hostBytes: 0, directory: directory, diskBytes: bytes)
    case .both: return SwapResources(hostBytes: bytes / 2 / granule * granule, directory: directory, diskBytes: bytes)
    }
}

/// Six sequences on a device for two, in passes that mix them: every token is the one that a device for all gives.
@Test(arguments: Below.allCases)
func swappingEngine_moreThanTheDeviceHolds_tokensAreTheSame(below: Below) throws {
    let resources = resources(below, cells: 6 * 256, in: "/tmp")
    let engine = try engine(device: 512, cells: 6 * 256, resources)
    var random = SeededGenerator(seed: 5)
    var records: [SequenceRecord] = []
    for id in UInt64(1)...6 {
        records.append(record(id, prompt: random.next(in: 3...60), outputs: 30))
        try engine.open(records[Int(id) - 1], cells: CellRun(start: Int(id - 1) * 256, count: 256))
    }
    var passes: UInt64 = 0
    while records.contains(where: { $0.outputs.count < 30 }) {
        let open = records.indices.filter { records[$0].outputs.count < 30 }
        let chosen = Array(open.shuffled(using: &random).prefix(2)).sorted()
        passes += 1
        let entries = chosen.map { index in
            let known = records[index].knownCount
            let first = min(engine.watermark(of: records[index].id), known - 1)
            return PassEntry(
                sequence: records[index].id, first: first, tokens: records[index].tokens(in: first..<known),
                samples: true)
        }
        if random.chance(0.5) { engine.announcements?.announce(PassID(passes), entries.map(\.sequence)) }
        let pass = Pass(id: PassID(passes), pipeline: PipelineID(0), epoch: Epoch(1), entries: entries)
        guard case .sampled(let tokens) = try engine.run(pass, hidden: nil) else {
            throw DejaVuError(.internalError, "no tokens")
        }
        try engine.settle()
        for (index, token) in zip(chosen, tokens) { records[index].outputs.append(token.token) }
    }
    for record in records {
        let wanted = EmulatedChain.continuation(
            of: record.prompt, count: 30, layerCount: profile.layerCount, vocabularyCount: profile.vocabularyCount,
            sampling: .greedy, stopTokens: [])
        #expect(record.outputs == wanted, "\(record.id)")
    }
    #expect(engine.rewriteMismatchCount == 0 && resources.meter.usage.fetches > 20)
}

/// A replica that was filled from elsewhere, or rows that landed: the device gets them with the first pass.
@Test func swappingEngine_openedWithRows_bringsThemIn() throws {
    let source = try EmulatedEngine(
        profile: profile, layers: LayerRange(0, profile.layerCount), cellCount: 256)
    var first = record(1, prompt: 40, outputs: 8)
    try source.open(first, cells: CellRun(start: 0, count: 256), watermark: 0)
    let prompt = Pass(
        id: PassID(1), pipeline: PipelineID(0), epoch: Epoch(1),
        entries: [PassEntry(sequence: first.id, first: 0, tokens: first.prompt, samples: true)])
    guard case .sampled(let tokens) = try source.run(prompt, hidden: nil) else { return }
    first.outputs = tokens.map(\.token)
    let engine = try engine(device: 256, cells: 1024, resources(.both, cells: 1024, in: "/tmp"))
    var rows = [UInt8](repeating: 0, count: 40 * source.memory.rowBytes)
    for layer in 0..<profile.layerCount {
        try rows.withUnsafeMutableBytes { try source.memory.read(layer: layer, cells: 0..<40, into: $0) }
        try rows.withUnsafeBytes { try engine.memory.write(layer: layer, cells: 768..<808, from: $0) }
    }
    try engine.open(first, cells: CellRun(start: 768, count: 256), watermark: 40)
    let step = Pass(
        id: PassID(2), pipeline: PipelineID(0), epoch: Epoch(1),
        entries: [PassEntry(sequence: first.id, first: 40, tokens: first.outputs, samples: true)])
    guard case .sampled(let next) = try engine.run(step, hidden: nil) else { return }
    let wanted = EmulatedChain.continuation(
        of: first.prompt, count: 2, layerCount: profile.layerCount, vocabularyCount: profile.vocabularyCount,
        sampling: .greedy, stopTokens: [])
    #expect(first.outputs + next.map(\.token) == wanted)
}

/// Where the kernel has the file that this process has no name for.
private func swapFile() -> String? {
    (0..<1024).map { "/proc/self/fd/\($0)" }.last { path in
        var buffer = [CChar](repeating: 0, count: 512)
        let count = readlink(path, &buffer, buffer.count - 1)
        return count > 0
            && String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self).contains("dejavu-swap-")
    }
}

/// A bit that turns on disk is never computed with: the stage runs nothing more, and its replica takes over.
@Test func swapFile_flippedBit_isSeen() throws {
    let engine = try engine(device: 256, cells: 512, resources(.file, cells: 512, in: "/tmp"))
    let first = record(1, prompt: 20, outputs: 4)
    let second = record(2, prompt: 20, outputs: 4)
    try engine.open(first, cells: CellRun(start: 0, count: 256))
    try engine.open(second, cells: CellRun(start: 256, count: 256))
    func run(_ id: UInt64, _ record: SequenceRecord, first: Int) throws {
        let pass = Pass(
            id: PassID(id), pipeline: PipelineID(0), epoch: Epoch(1),
            entries: [
                PassEntry(
                    sequence: record.id, first: first, tokens: record.tokens(in: first..<20), samples: true)
            ])
        _ = try engine.run(pass, hidden: nil)
        try engine.settle()
    }
    try run(1, first, first: 0)
    try run(2, second, first: 0)
    let path = try #require(swapFile())
    let file = try #require(fopen(path, "r+"))
    fseek(file, 3, SEEK_SET)
    let byte = fgetc(file)
    fseek(file, 3, SEEK_SET)
    fputc(byte ^ 4, file)
    fclose(file)
    #expect {
        try run(3, first, first: 19)
    } throws: { error in
        (error as? DejaVuError)?.message.contains("other bytes") == true
    }
    #expect(throws: DejaVuError.self, "it runs nothing any more") { try run(4, second, first: 19) }
}

@Test func swapSpace_noRoom_saysWhatIsMissingAtTheStart() throws {
    #expect {
        _ = try engine(
            device: 256, cells: 1 << 40,
            SwapResources(hostBytes: 0, directory: "/tmp", diskBytes: 1 << 50))
    } throws: { error in
        (error as? DejaVuError)?.subject == "swap-dir"
    }
    #expect {
        _ = try engine(
            device: 256, cells: 512, SwapResources(hostBytes: 0, directory: "/no/such/place", diskBytes: 1 << 40))
    } throws: { error in
        (error as? DejaVuError)?.message.contains("/no/such/place") == true
    }
}

// MARK: Clusters

/// Emulated workers whose devices hold four runs of 512 cells, and the memory below 24.
private func withSwapping(
    stages: Int, promptStages: Int = 0, spares: Int = 1, below: Below, swapping: Swapping = .on,
    _ body: (ControllerService, [WorkerProcess]) async throws -> Void
) async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: stages, in: directory) {
                $0.key = key
                $0.configuration.topology = PipelineTopology(stageCount: stages, promptStageCount: promptStages)
                $0.configuration.disaggregateAbove = 24
                $0.configuration.swapping = swapping
                $0.configuration.limits.contextLength = 512
            }, logger: quiet)
        let meter = EmulationMeter()
        // Of the largest stage.
        let layers = (profile.layerCount + stages - 1) / stages
        let bytes = { (cells: Int) in cells * layers * rowBytes }
        let workers = try (0..<(stages + promptStages + spares)).map { index in
            let total = bytes(24 * 512)
            let resources: SwapResources =
                switch below {
                case .host: SwapResources(hostBytes: total)
                case .file: SwapResources(hostBytes: 0, directory: directory, diskBytes: total)
                case .both: SwapResources(hostBytes: total / 3, directory: directory, diskBytes: total)
                }
            return try worker(
                joining: service.localAddress, name: "worker-\(index)", peers: .directory(directory), meter: meter,
                replicaBytesMax: 8 << 30, kvBytesMax: total, deviceBytesMax: bytes(4 * 512), swap: resources)
        }
        await withTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { _ = await worker.run() } }
            do {
                try await untilReady(service)
                try await body(service, workers)
            } catch { Issue.record(error) }
            await service.stop()
        }
        #expect(meter.usage.rewriteMismatches == 0)
    }
}

private func requests(_ count: Int, of service: ControllerService) -> [Request] {
    var random = SeededGenerator(seed: 77)
    return (0..<count).map { index in
        var sampling = SamplingParameters()
        sampling.temperature = random.chance(0.5) ? 0 : 1
        sampling.seed = random.next()
        return service.request(
            (0..<random.next(in: 4...400)).map { _ in TokenID(random.next(below: profile.vocabularyCount)) },
            outputs: random.next(in: 1...80), choices: index % 7 == 0 ? 2 : 1, sampling: sampling)
    }
}

@Test(arguments: [(1, 0), (2, 0), (1, 1), (2, 3)], Below.allCases)
func swapping_moreThanTheDevicesHold_textsAreTheSame(stages: (Int, Int), below: Below) async throws {
    try await withSwapping(stages: stages.0, promptStages: stages.1, below: below) { service, _ in
        await expectTexts(requests(40, of: service), from: service)
        let status = await service.status()
        let swap = try #require(status.pipelines[0].swap)
        #expect(swap.isOn && swap.cellsResident == 4 * 512 && status.pipelines[0].cellsTotal == 24 * 512)
        #expect(status.counters.replayRows == 0 && status.counters.workersLost == 0)
        try await wait("what was swapped is reported") {
            await service.status().pipelines[0].swap.map { $0.usage.fetches > 10 && $0.usage.bytesOut > 0 } ?? false
        }
    }
}

/// The replica lies below its holder's device; whoever takes over brings in what it needs.
@Test func swapping_workerDies_theReplicaTakesOverAndTextsAreTheSame() async throws {
    try await withSwapping(stages: 2, below: .both) { service, workers in
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await expectTexts(requests(40, of: service), from: service) }
            group.addTask {
                for _ in 0..<200 where await service.status().counters.tokensEmitted < 300 {
                    try? await Task.sleep(for: .milliseconds(10))
                }
                let first = await service.status().pipelines[0].stages[0].worker
                let name = await service.status().workers.first { $0.id == first }?.name
                for (index, worker) in workers.enumerated() where "worker-\(index)" == name { worker.stop("it dies") }
            }
        }
        let status = await service.status()
        #expect(status.counters.tokensEmitted > 0)
    }
}

/// Without swapping what the devices do not hold waits in the queue.
@Test func swapping_off_queuesWhatTheDevicesDoNotHold() async throws {
    try await withSwapping(stages: 1, below: .host, swapping: .off) { service, _ in
        await expectTexts(requests(20, of: service), from: service)
        let status = await service.status()
        #expect(status.pipelines[0].swap == nil && status.pipelines[0].cellsTotal == 4 * 512)
    }
}
