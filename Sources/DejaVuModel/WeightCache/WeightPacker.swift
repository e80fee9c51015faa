import DejaVuCore
package import DejaVuGGML
import Glibc

/// Something about a stage that whoever runs it should know.
package struct StageNotice: Sendable {
    package enum Level: Sendable { case info, warning }
    package let level: Level
    package let message: String
}

/// Brings a stage's packed weights into memory: maps what the cache has, makes what it lacks, and packs privately what
/// the cache cannot take. It never fails, and waits for other processes only for a bounded time.
package struct WeightPacker {
    /// Hands out the bytes of a tensor as the model's file has them.
    package typealias Source = (_ tensor: String, _ use: (UnsafeRawBufferPointer) -> Void) -> Void

    /// nil packs privately.
    package var cache: WeightCache?
    /// How long sections that other processes make are waited for, all together.
    package var waitMax: Duration = .seconds(60)
    /// Called after every section, and while others are waited for.
    package var progress: @Sendable () -> Void = {}
    package var notice: @Sendable (StageNotice) -> Void = { _ in }
    /// How long packing goes on before a line says so, and between such lines.
    private static let quietTime = Duration.seconds(2)
    private static let pollMicroseconds: UInt32 = 10_000

    /// Until a file could not be made: what is there is still used.
    private var canStore = true
    private var sectionCount = 0
    private var doneCount = 0
    private var hasSaid = false
    private var saidAt = ContinuousClock.now

    package init(cache: WeightCache?) { self.cache = cache }

    /// The packed matrices of all sections, by name.
    package mutating func pack(_ sections: [PackedSection], from source: Source) -> [String: PackedMatrix] {
        sectionCount = sections.count
        doneCount = 0
        hasSaid = false
        saidAt = .now
        var matrices: [String: PackedMatrix] = [:]
        // What others are making comes last: workers that start together share the work.
        var busy: [PackedSection] = []
        for section in sections {
            if let made = attempt(section, source) {
                finish(made, &matrices)
            } else {
                busy.append(section)
            }
        }
        let deadline = ContinuousClock.now + waitMax
        for section in busy { finish(wait(for: section, until: deadline, source), &matrices) }
        if hasSaid { notice(StageNotice(level: .info, message: "weights are packed")) }
        return matrices
    }

    private mutating func finish(_ made: [String: PackedMatrix], _ matrices: inout [String: PackedMatrix]) {
        matrices.merge(made) { $1 }
        doneCount += 1
        progress()
        guard doneCount < sectionCount, ContinuousClock.now - saidAt > Self.quietTime else { return }
        saidAt = .now
        hasSaid = true
        notice(StageNotice(level: .info, message: "packing weights: \(doneCount) of \(sectionCount) parts"))
    }

    private mutating func wait(
        for section: PackedSection, until deadline: ContinuousClock.Instant, _ source: Source
    ) -> [String: PackedMatrix] {
        while true {
            if let made = attempt(section, source) { return made }
            guard ContinuousClock.now < deadline else { break }
            progress()
            usleep(Self.pollMicroseconds)
        }
        warn("another process does not finish \(section.fileName) of the packed weights; packing it privately")
        return privately(section, source)
    }

    /// A section's matrices from wherever they can be had; nil while another process makes them.
    private mutating func attempt(_ section: PackedSection, _ source: Source) -> [String: PackedMatrix]? {
        guard let cache else { return privately(section, source) }
        do throws(DejaVuError) {
            if let found = load(section, cache, says: canStore) { return found }
            guard canStore else { return privately(section, source) }
            guard let claim = try cache.claim(section) else { return nil }
            // Another may have made it since we looked.
            if let found = load(section, cache, says: false) {
                claim.discard()
                return found
            }
            try cache.store(section, claim) { entry, target in
                source(entry.name) { bytes in
                    PackedMatrix.pack(entry.type, rows: entry.rows, columns: entry.columns, from: bytes, into: target)
                }
            }
            if let made = try cache.load(section) { return made }
            throw DejaVuError(.unavailable, "\(section.fileName) was removed as soon as it was made")
        } catch {
            warn("packed weights are not shared: \(error.message); packing privately")
            canStore = false
            return privately(section, source)
        }
    }

    /// What is wrong with a file is no reason to stop: it is made anew.
    private func load(_ section: PackedSection, _ cache: WeightCache, says: Bool) -> [String: PackedMatrix]? {
        do throws(DejaVuError) { return try cache.load(section) } catch {
            if says { warn("a file of packed weights is made anew: \(error.message)") }
            return nil
        }
    }

    private func privately(_ section: PackedSection, _ source: Source) -> [String: PackedMatrix] {
        var matrices: [String: PackedMatrix] = [:]
        for entry in section.entries {
            source(entry.name) { bytes in
                matrices[entry.name] = PackedMatrix(entry.type, rows: entry.rows, columns: entry.columns, from: bytes)
            }
        }
        return matrices
    }

    private func warn(_ message: String) { notice(StageNotice(level: .warning, message: message)) }
}
