import DejaVuCore
import DejaVuLib
import Glibc
import Synchronization

/// A file system in memory that fails as disks do, by a seed: short and failing writes, a full disk, syncs that drop
/// what they should have kept, flipped bits, files that are cut off or gone, and a machine that loses its power.
final class FaultyDisk: DiskFileSystem {
    struct Odds {
        var shortTransfer = 0.0
        var writeError = 0.0
        var full = 0.0
        var readError = 0.0
        var syncError = 0.0
        var flippedRead = 0.0
        static let none = Odds()
    }

    private struct Content {
        var current: [UInt8] = []
        /// What a power cut leaves for certain.
        var durable: [UInt8] = []
    }

    private struct State {
        var files: [String: Content] = [:]
        var generator: SeededGenerator
        var odds = Odds.none
        var faults = 0
    }

    static let pageBytes = 512
    private let state: Mutex<State>

    init(seed: UInt64) { state = Mutex(State(generator: SeededGenerator(seed: seed))) }

    var faults: Int { state.withLock { $0.faults } }
    var names: [String] { state.withLock { $0.files.keys.sorted() } }
    func set(_ odds: Odds) { state.withLock { $0.odds = odds } }
    func content(_ name: String) -> [UInt8] { state.withLock { $0.files[name]?.current ?? [] } }

    func put(_ name: String, _ bytes: [UInt8]) {
        state.withLock { $0.files[name] = Content(current: bytes, durable: bytes) }
    }

    /// Changes what is stored, as wear and other programs do.
    func damage() {
        state.withLock { state in
            guard let name = state.files.keys.sorted().randomElement(using: &state.generator),
                var content = state.files[name], !content.current.isEmpty
            else { return }
            state.faults += 1
            switch state.generator.next(below: 4) {
            case 0:
                state.files[name] = nil
                return
            case 1: content.current.removeLast(state.generator.next(in: 1...content.current.count))
            default:
                for _ in 0..<state.generator.next(in: 1...3) {
                    let index = state.generator.next(below: content.current.count)
                    content.current[index] ^= 1 << UInt8(state.generator.next(below: 8))
                }
            }
            content.durable = content.current
            state.files[name] = content
        }
    }

    /// The power fails: of what was not synced, any pages may be there.
    func cutPower() {
        state.withLock { state in
            for name in state.files.keys.sorted() {
                guard var content = state.files[name] else { continue }
                content = Self.losePages(content, &state.generator, chance: 0.5)
                content.durable = content.current
                state.files[name] = content
            }
        }
    }

    private static func losePages(_ content: Content, _ generator: inout SeededGenerator, chance: Double) -> Content {
        var result = content
        if generator.chance(chance), content.current.count > content.durable.count {
            let end = generator.next(in: content.durable.count...content.current.count)
            result.current.removeLast(content.current.count - end)
        }
        for start in stride(from: 0, to: result.current.count, by: pageBytes) where generator.chance(chance) {
            for index in start..<min(start + pageBytes, result.current.count) {
                result.current[index] = index < content.durable.count ? content.durable[index] : 0
            }
        }
        return result
    }

    // MARK: DiskFileSystem

    func claim(_ directory: String) throws(IOFailure) -> any Sendable { 0 }

    func list(_ directory: String) throws(IOFailure) -> [String] { names }

    func create(_ path: String) throws(IOFailure) -> any DiskFile {
        let name = Self.name(path)
        let failure = state.withLock { state -> IOFailure? in
            if state.files[name] != nil { return IOFailure("create", EEXIST) }
            if state.generator.chance(state.odds.full) {
                state.faults += 1
                return IOFailure("create", ENOSPC)
            }
            state.files[name] = Content()
            return nil
        }
        if let failure { throw failure }
        return File(disk: self, name: name)
    }

    func open(_ path: String) throws(IOFailure) -> any DiskFile {
        let name = Self.name(path)
        guard state.withLock({ $0.files[name] != nil }) else { throw IOFailure("open", ENOENT) }
        return File(disk: self, name: name)
    }

    func remove(_ path: String) throws(IOFailure) {
        let name = Self.name(path)
        guard state.withLock({ $0.files.removeValue(forKey: name) != nil }) else { throw IOFailure("remove", ENOENT) }
    }

    func syncDirectory(_ directory: String) throws(IOFailure) {}

    private static func name(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

    // MARK: Files

    private final class File: DiskFile {
        let disk: FaultyDisk
        let name: String
        init(disk: FaultyDisk, name: String) {
            self.disk = disk
            self.name = name
        }

        func byteCount() throws(IOFailure) -> Int { disk.content(name).count }
        func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFailure) -> Int {
            try disk.read(name, bytes, at: offset).get()
        }
        func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOFailure) -> Int {
            try disk.write(name, bytes, at: offset).get()
        }
        func sync() throws(IOFailure) { try disk.sync(name).get() }
    }

    private func read(
        _ name: String, _ bytes: UnsafeMutableRawBufferPointer, at offset: Int
    ) -> Result<Int, IOFailure> {
        state.withLock { state in
            guard let content = state.files[name]?.current else { return .failure(IOFailure("read", EIO)) }
            if state.generator.chance(state.odds.readError) {
                state.faults += 1
                return .failure(IOFailure("read", EIO))
            }
            var count = max(0, min(bytes.count, content.count - offset))
            if count > 1, state.generator.chance(state.odds.shortTransfer) {
                state.faults += 1
                count = state.generator.next(in: 1...count)
            }
            guard count > 0 else { return .success(0) }
            bytes.copyBytes(from: content[offset..<offset + count])
            if state.generator.chance(state.odds.flippedRead) {
                state.faults += 1
                bytes[state.generator.next(below: count)] ^= 1
            }
            return .success(count)
        }
    }

    private func write(_ name: String, _ bytes: UnsafeRawBufferPointer, at offset: Int) -> Result<Int, IOFailure> {
        state.withLock { state in
            // A file that was removed can still be written.
            guard var content = state.files[name] else { return .success(bytes.count) }
            var count = bytes.count
            var failure: IOFailure?
            if state.generator.chance(state.odds.writeError) {
                failure = IOFailure("write", EIO)
            } else if state.generator.chance(state.odds.full) {
                failure = IOFailure("write", ENOSPC)
            }
            if count > 1, failure != nil || state.generator.chance(state.odds.shortTransfer) {
                state.faults += 1
                count = state.generator.next(in: 1...count)
            }
            let missing = offset + count - content.current.count
            if missing > 0 { content.current += [UInt8](repeating: 0, count: missing) }
            content.current.replaceSubrange(offset..<offset + count, with: bytes.prefix(count))
            state.files[name] = content
            return failure.map { .failure($0) } ?? .success(count)
        }
    }

    private func sync(_ name: String) -> Result<Void, IOFailure> {
        state.withLock { state in
            guard var content = state.files[name] else { return .success(()) }
            if state.generator.chance(state.odds.syncError) {
                state.faults += 1
                // The kernel may drop the pages that it could not write, and call them clean.
                state.files[name] = Self.losePages(content, &state.generator, chance: 0.3)
                return .failure(IOFailure("sync", EIO))
            }
            content.durable = content.current
            state.files[name] = content
            return .success(())
        }
    }
}
