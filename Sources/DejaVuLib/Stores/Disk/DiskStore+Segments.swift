public import DejaVuCore
import DejaVuKV
import Synchronization

/// Segment files: made, synced, removed. All of it on the store's threads.
extension DiskStore {
    /// Room for a record, in a new segment if need be.
    ///
    /// - Throws: `.resourceExhausted` beyond the budget or on a full disk, `.unavailable` on other errors.
    func reserve(_ bytes: Int) throws(DejaVuError) -> (segment: DiskSegment, offset: Int) {
        // Whoever finds no room makes a segment; the others wait for him.
        let made = Result { () throws(DejaVuError) in
            try making.withLock { (_) throws(DejaVuError) in try reserveOrMake(bytes) }
        }
        return try made.get()
    }

    /// Room in the active segment, which takes no file operation; nil if there is none.
    func reserveNow(_ bytes: Int) throws(DejaVuError) -> (segment: DiskSegment, offset: Int)? {
        try state.withLock { (state) throws(DejaVuError) in
            let used = state.fileBytes
            guard bytes <= options.budget - used - SegmentHeader.byteCount else {
                throw DejaVuError(
                    .resourceExhausted, "\(name): a frame of \(bytes) bytes; \(used) of \(options.budget) are used",
                    subject: "budget")
            }
            return state.reserve(bytes, segmentBytes: options.segmentBytes)
        }
    }

    private func reserveOrMake(_ bytes: Int) throws(DejaVuError) -> (segment: DiskSegment, offset: Int) {
        if let room = try reserveNow(bytes) { return room }
        let number = state.withLock { state in
            state.nextSegment += 1
            return state.nextSegment
        }
        let segment: DiskSegment
        do throws(IOFailure) {
            segment = try makeSegment(number)
        } catch {
            report(.failed(error.error))
            throw error.error
        }
        let room = state.withLock { state in
            if let active = state.active { state.segments[active]?.isSealed = true }
            state.segments[number] = segment
            state.active = number
            state.fileBytes += segment.end
            return state.reserve(bytes, segmentBytes: options.segmentBytes)
        }
        guard let room else { preconditionFailure("a new segment takes any record") }
        return room
    }

    private func makeSegment(_ number: UInt64) throws(IOFailure) -> DiskSegment {
        var generator = SystemRandomNumberGenerator()
        let header = SegmentHeader(
            number: number, salt: generator.next(), numericClass: numericClass, rowBytes: rowBytes, layers: layers)
        let path = options.directory + "/" + Self.fileName(number)
        let file = try files.create(path)
        do throws(IOFailure) {
            try file.writeWhole(header.encoded(), at: 0)
            if options.sync != .onClose { try files.syncDirectory(options.directory) }
        } catch {
            // Best effort: what is left has no whole record.
            try? files.remove(path)
            throw error
        }
        return DiskSegment(number: number, path: path, file: file, salt: header.salt, end: SegmentHeader.byteCount)
    }

    /// Sixteen digits, so that names sort as numbers.
    static func fileName(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return "segment-" + String(repeating: "0", count: 16 - digits.count) + digits + ".kv"
    }

    static func segmentNumber(_ name: String) -> UInt64? {
        guard name.hasPrefix("segment-"), name.hasSuffix(".kv"), name.utf8.count == 27 else { return nil }
        return UInt64(name.dropFirst(8).dropLast(3), radix: 16)
    }

    /// Notes that a sequence was released, so that its frames stay dead after a restart. If it cannot be written they
    /// come back then, to be released again.
    func writeRelease(_ release: ReleaseRecord) {
        // Frames that are gone with their segments need no note.
        let isNeeded = state.withLock { state in
            state.segments.values.contains { $0.dead.contains(release.sequence) }
        }
        guard isNeeded else { return }
        let header = release.encoded()
        do throws(DejaVuError) {
            let bytes = RecordPrefix(salt: 0, kind: .release, header: header, payloadBytes: 0).recordBytes
            let (segment, offset) = try reserve(bytes)
            defer { leave(segment.number) }
            let prefix = RecordPrefix(salt: segment.salt, kind: .release, header: header, payloadBytes: 0)
            do throws(IOFailure) {
                try segment.file.writeWhole(prefix.encoded() + header, at: offset)
            } catch { throw error.error }
            changeState { state, _ in state.segments[segment.number]?.releases.insert(release.sequence) }
        } catch {
            report(.failed(error))
        }
    }

    /// A landing has left its segment, which may have been the last thing in it.
    func leave(_ number: UInt64) {
        var isUnused = false
        changeState { state, _ in
            state.segments[number]?.landings -= 1
            if let segment = state.segments[number] { isUnused = segment.isUnused && !segment.dead.isEmpty }
        }
        guard isUnused else { return }
        threads.start { isActive in if isActive { self.removeUnused() } }
    }

    /// Removes the files in which nothing is alive.
    func removeUnused() {
        for segment in state.withLock({ $0.takeUnused() }) {
            do throws(IOFailure) {
                try files.remove(segment.path)
            } catch  where error.isMissing {
                continue
            } catch {
                report(.failed(error.error))
            }
        }
    }

    // MARK: Syncing

    /// Makes all that is committed durable.
    ///
    /// - Throws: `.unavailable` if the disk fails: watermarks have been lowered then to what is certain.
    public func sync() async throws(DejaVuError) {
        try await threads.run { () throws(DejaVuError) in try self.syncAll() }
    }

    /// Syncs, ends the threads and lets go of the directory. Afterwards calls that need the disk fail, and so do frames
    /// that are landing.
    public func close() async throws(DejaVuError) {
        let isFirst = state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        guard isFirst else { return }
        let result: Result<Void, DejaVuError>
        do throws(DejaVuError) {
            try await sync()
            result = .success(())
        } catch { result = .failure(error) }
        await threads.end()
        claim.withLock { $0 = nil }
        try result.get()
    }

    func syncAll() throws(DejaVuError) {
        let numbers = state.withLock { state in
            state.segments.values.filter { !$0.unsynced.isEmpty || $0.landings > 0 }.map(\.number).sorted()
        }
        var failure: DejaVuError?
        if !numbers.isEmpty {
            do throws(IOFailure) { try files.syncDirectory(options.directory) } catch { failure = error.error }
        }
        for number in numbers {
            do throws(DejaVuError) { try sync(number) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Syncs one segment. After an error nothing that landed in it since the last good sync is trusted: the kernel may
    /// have dropped the pages and called them clean.
    func sync(_ number: UInt64) throws(DejaVuError) {
        guard
            let (file, count) = state.withLock({ state in
                state.segments[number].map { ($0.file, $0.unsynced.count) }
            })
        else { return }
        do throws(IOFailure) {
            try file.sync()
        } catch {
            distrust(number, error.error)
            throw error.error
        }
        changeState { state, _ in
            guard var segment = state.segments[number], !segment.isBroken else { return }
            segment.unsynced.removeFirst(min(count, segment.unsynced.count))
            segment.unsyncedBytes = segment.unsynced.reduce(0) { $0 + $1.frame.recordBytes }
            state.segments[number] = segment
        }
        if state.withLock({ $0.segments[number]?.isBroken == true }) {
            throw DejaVuError(.unavailable, "\(name): an earlier sync of the segment has failed")
        }
    }

    private func distrust(_ number: UInt64, _ error: DejaVuError) {
        changeState { state, followup in
            guard var segment = state.segments[number] else { return }
            segment.isBroken = true
            segment.isSealed = true
            let lost = segment.unsynced
            segment.unsynced = []
            segment.unsyncedBytes = 0
            state.segments[number] = segment
            if state.active == number { state.active = nil }
            for (place, frame) in lost { state.lose(frame, in: place, because: error, &followup) }
        }
        report(.failed(error))
    }
}

extension DiskState {
    /// A frame turned out bad: its layers fall to where it began.
    mutating func lose(
        _ frame: DiskFrame, in place: Int, because error: DejaVuError, _ followup: inout StoreBooks<Int>.Followup
    ) {
        // Not yet committed: its own landing fails.
        guard sequences[place]?.frames.contains(where: { $0.isSame(as: frame) }) == true else { return }
        drop(in: place) { $0.isSame(as: frame) }
        guard books.place(of: frame.span.sequence) == place else { return }
        for layer in frame.span.layers.indices {
            let range = LayerRange(layer, layer + 1)
            let end = wholeEnd(of: frame.span.sequence, layer: layer, in: place)
            books.lower(frame.span.sequence, layers: range, to: end, because: error, &followup)
        }
    }

    /// How far a layer's frames still reach from position 0.
    private func wholeEnd(of sequence: SequenceID, layer: Int, in place: Int) -> Int {
        var end = 0
        for frame in sequences[place]?.frames ?? []
        where frame.span.layers.indices.contains(layer) && frame.span.positions.lowerBound <= end {
            end = max(end, frame.span.positions.upperBound)
        }
        return end
    }
}

extension DiskFrame {
    func isSame(as other: DiskFrame) -> Bool { segment == other.segment && offset == other.offset }
}
