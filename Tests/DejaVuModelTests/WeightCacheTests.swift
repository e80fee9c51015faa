import DejaVuCore
import DejaVuEngine
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Foundation
import Glibc
import Synchronization
import Testing

/// Packed weights live once on a machine, and whatever becomes of their files, the same bits are computed.
@Suite(.serialized)
final class WeightCacheTests: Sendable {
    private static let layerCount = 3
    private let root: String
    private let file: GGUFFile
    private let expected: [[Float]]

    init() throws {
        var model = RandomModel()
        model.type = .q41
        model.layerCount = Self.layerCount
        file = try GGUFFile(bytes: try model.bytes())
        let made = FileManager.default.temporaryDirectory.appendingPathComponent("weights-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: made, withIntermediateDirectories: true)
        root = made.path
        expected = try Self.logits(Self.engine(file, cache: nil).engine)
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    // MARK: What a stage computes and says

    private static func engine(
        _ file: GGUFFile, cache: String?, layers: LayerRange = LayerRange(0, layerCount)
    ) throws -> (engine: GGMLStageEngine, notices: [StageNotice]) {
        let notices = Notices()
        var options = StageEngineOptions(layers: layers, cellCount: 256)
        options.kernelSet = .native
        options.weightCache = cache
        options.notice = { notices.add($0) }
        return (try GGMLStageEngine(file: file, options: options), notices.all)
    }

    private final class Notices: Sendable {
        private let list = Mutex<[StageNotice]>([])
        func add(_ notice: StageNotice) { list.withLock { $0.append(notice) } }
        var all: [StageNotice] { list.withLock { $0 } }
    }

    private static func logits(_ engine: GGMLStageEngine) throws -> [[Float]] {
        let tokens: [TokenID] = [5, 80, 33, 7, 101]
        try engine.open(
            SequenceRecord(
                id: SequenceID(1), request: RequestID(1), choice: 0, prompt: tokens, sampling: .greedy,
                outputCountMax: 1, stopTokens: []), cells: CellRun(start: 0, count: 256))
        let entry = PassEntry(sequence: SequenceID(1), first: 0, tokens: tokens, samples: true)
        return try engine.logits(
            Pass(id: PassID(1), pipeline: PipelineID(0), epoch: Epoch(0), entries: [entry]), hidden: nil)
    }

    /// Makes an engine with the cache and holds what it computes against what one with private weights does.
    @discardableResult
    private func serve(_ cache: String? = nil) throws -> [StageNotice] {
        let made = try Self.engine(file, cache: cache ?? root)
        #expect(try Self.logits(made.engine) == expected)
        return made.notices
    }

    // MARK: The files

    private var directory: String {
        get throws { try WeightCache(root: root, model: file.modelID).directory }
    }
    private func files() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: directory).sorted() }

    /// Inode numbers, which change when a file is made anew.
    private func inodes() throws -> [String: UInt64] {
        var inodes: [String: UInt64] = [:]
        for name in try files() {
            inodes[name] = try #require(
                try FileManager.default.attributesOfItem(atPath: directory + "/" + name)[.systemFileNumber] as? UInt64)
        }
        return inodes
    }

    private static let all = ["layer-0.packed", "layer-1.packed", "layer-2.packed", "output.packed"]

    @Test
    func engine_emptyCache_makesAFileForEachLayerThatOthersMap() throws {
        #expect(try serve().isEmpty)
        #expect(try files() == Self.all)
        for name in Self.all {
            let attributes = try FileManager.default.attributesOfItem(atPath: directory + "/" + name)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
        }
        let before = try inodes()
        #expect(try serve().isEmpty)
        #expect(try inodes() == before, "nothing is packed a second time")
    }

    @Test
    func engine_stageOfTheModel_makesAndMapsItsLayersAlone() throws {
        _ = try Self.engine(file, cache: root, layers: LayerRange(1, 2))
        #expect(try files() == ["layer-1.packed"])
        _ = try Self.engine(file, cache: root, layers: LayerRange(0, 2))
        #expect(try files() == ["layer-0.packed", "layer-1.packed"])
    }

    @Test
    func engine_sharedWeights_areMappedFromTheFile() throws {
        let made = try Self.engine(file, cache: root)
        let handle = try #require(FileHandle(forReadingAtPath: "/proc/self/maps"))
        let maps = String(decoding: try #require(try handle.readToEnd()), as: UTF8.self)
        for name in Self.all {
            let path = try directory + "/" + name
            #expect(maps.split(separator: "\n").contains { $0.hasSuffix(path) && $0.contains("r--s") }, "\(name)")
        }
        #expect(try Self.logits(made.engine) == expected)
    }

    enum Damage: CaseIterable {
        case empty, truncated, longer, magic, version, entry, headChecksum, matrix, lastByte, foreignModel
    }

    @Test(arguments: Damage.allCases)
    func engine_damagedFile_makesItAnewAndSaysSo(_ damage: Damage) throws {
        try serve()
        let path = try directory + "/layer-1.packed"
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        let whole = bytes
        switch damage {
        case .empty: bytes = []
        case .truncated: bytes.removeLast()
        case .longer: bytes.append(0)
        case .magic: bytes[0] ^= 1
        case .version: bytes[12] ^= 1
        // The count of bytes of the first matrix, which a reader that trusted the file would follow out of it.
        case .entry: bytes[128 + 96 + 5] = 0xFF
        case .headChecksum: bytes[40] ^= 1
        case .matrix: bytes[bytes.count / 2] ^= 0x10
        case .lastByte: bytes[bytes.count - 1] ^= 0x80
        case .foreignModel: bytes[48] ^= 1
        }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        let before = try inodes()
        let notices = try serve()
        #expect(notices.map(\.level) == [.warning])
        #expect(notices.first?.message.contains("layer-1.packed") == true)
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) == whole)
        #expect(try inodes().filter { $0.key != "layer-1.packed" } == before.filter { $0.key != "layer-1.packed" })
        #expect(try serve().isEmpty)
    }

    @Test
    func engine_fileThatOthersMayWrite_isMadeAnew() throws {
        try serve()
        let path = try directory + "/output.packed"
        chmod(path, 0o666)
        #expect(try serve().map(\.level) == [.warning])
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
    }

    @Test
    func engine_noDirectoryPossible_packsPrivatelyAndSaysSo() throws {
        let blocked = root + "/file"
        try Data().write(to: URL(fileURLWithPath: blocked))
        let notices = try serve(blocked + "/cache")
        #expect(notices.map(\.level) == [.warning])
        #expect(notices.first?.message.contains(blocked) == true)
    }

    // MARK: Several at once, and disks that fail

    /// The sections of the model as the engine makes them, packed from its tensors.
    private func sections() -> [PackedSection] {
        (0..<Self.layerCount).map { layer in
            PackedSection(
                model: file.modelID, layer: layer,
                matrices: file.tensors.filter { $0.name.hasPrefix("blk.\(layer).") && $0.dimensions.count == 2 }
                    .map { (name: $0.name, type: .q41, rows: $0.dimensions[1], columns: $0.dimensions[0]) })
        }
    }

    private func pack(_ packer: WeightPacker) -> (names: [String], packedCount: Int) {
        var packer = packer
        var packedCount = 0
        let matrices = packer.pack(sections()) { name, use in
            packedCount += 1
            if let info = file.tensor(name) { use(file.bytes(of: info)) }
        }
        return (matrices.keys.sorted(), packedCount)
    }

    private var matrixNames: [String] { sections().flatMap { $0.entries.map(\.name) }.sorted() }

    @Test
    func packer_fullDisk_packsPrivatelySaysSoOnceAndLeavesNothing() throws {
        var cache = try WeightCache(root: root, model: file.modelID)
        cache.write = { _, _, _ in
            errno = ENOSPC
            return -1
        }
        let notices = Notices()
        var packer = WeightPacker(cache: cache)
        packer.notice = { notices.add($0) }
        #expect(pack(packer).names == matrixNames)
        #expect(notices.all.map(\.level) == [.warning])
        #expect(notices.all.first?.message.contains(String(cString: strerror(ENOSPC))) == true)
        #expect(try files().isEmpty)

        _ = try Self.engine(file, cache: root, layers: LayerRange(2, 3))
        let result = pack(packer)
        #expect(result.names == matrixNames)
        #expect(result.packedCount < matrixNames.count, "what others have made is used")
    }

    @Test
    func packer_shortWrites_makesWholeFiles() throws {
        var cache = try WeightCache(root: root, model: file.modelID)
        cache.write = { pwrite($0, $1.baseAddress, min($1.count, 1000), $2) }
        #expect(pack(WeightPacker(cache: cache)).names == matrixNames)
        let second = pack(WeightPacker(cache: try WeightCache(root: root, model: file.modelID)))
        #expect(second.names == matrixNames && second.packedCount == 0)
    }

    @Test
    func packers_startedAtOnce_packEachMatrixOnceAndShareIt() throws {
        let names = matrixNames
        let results = Mutex<[(names: [String], packedCount: Int)]>([])
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            guard let cache = try? WeightCache(root: root, model: file.modelID) else { return }
            let result = pack(WeightPacker(cache: cache))
            results.withLock { $0.append(result) }
        }
        let counts = results.withLock { $0 }
        #expect(counts.count == 4)
        #expect(counts.allSatisfy { $0.names == names })
        #expect(counts.reduce(0) { $0 + $1.packedCount } == names.count)
        #expect(try files() == ["layer-0.packed", "layer-1.packed", "layer-2.packed"])
    }

    @Test
    func packer_anotherNeverFinishes_packsThatPartPrivately() throws {
        let cache = try WeightCache(root: root, model: file.modelID)
        let held = try #require(try cache.claim(sections()[1]))
        let notices = Notices()
        var packer = WeightPacker(cache: cache)
        packer.waitMax = .milliseconds(30)
        packer.notice = { notices.add($0) }
        #expect(pack(packer).names == matrixNames)
        #expect(notices.all.map(\.level) == [.warning])
        #expect(notices.all.first?.message.contains("layer-1.packed") == true)
        withExtendedLifetime(held) {}
    }

    @Test
    func packer_leftOverOfAKilledWriter_isTakenOver() throws {
        let part = try directory + "/layer-1.packed.part"
        try Data([UInt8](repeating: 7, count: 1 << 20)).write(to: URL(fileURLWithPath: part))
        chmod(part, 0o600)
        #expect(try serve().isEmpty)
        #expect(try files() == Self.all)
        #expect(try serve().isEmpty)
    }

    @Test
    func cache_filesOfAnotherVersion_areRemovedAndOtherThingsKept() throws {
        let mine = try directory
        let old = mine + "0"
        let other = root + "/" + String(repeating: "f", count: 32) + "-native-1"
        for path in [old, other] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            try Data([1]).write(to: URL(fileURLWithPath: path + "/layer-0.packed"))
        }
        try serve()
        #expect(!FileManager.default.fileExists(atPath: old))
        #expect(FileManager.default.fileExists(atPath: other + "/layer-0.packed"))
        #expect(try files() == Self.all)
    }
}
