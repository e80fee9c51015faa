import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

/// A frame on its way into a segment. Chunks are written in order by one thread at a time, while the next ones come.
final class DiskLanding: FrameLanding {
    private struct Progress {
        var queue: [ByteBuffer] = []
        var queuedBytes = 0
        var isWriting = false
        var failure: DejaVuError?
        var writtenBytes = 0
        var checksums = BlockChecksums()
        /// The writer, who waits for the queue to become shorter than `shortEnough`, or empty.
        var waiter: (shortEnough: Int, continuation: CheckedContinuation<Void, Never>)?
        var hasLeft = false
    }

    private let store: DiskStore
    private let arrival: Arrival
    private let place: Int
    private let header: [UInt8]
    private let record: FrameRecord
    private let prefix: RecordPrefix
    private let segment: DiskSegment
    private let offset: Int
    private let progress = Mutex(Progress())

    init(
        _ store: DiskStore, _ arrival: Arrival, place: Int, record: FrameRecord, header: [UInt8],
        prefix: RecordPrefix, segment: DiskSegment, offset: Int
    ) {
        self.store = store
        self.arrival = arrival
        self.place = place
        self.record = record
        self.header = header
        self.prefix = prefix
        self.segment = segment
        self.offset = offset
    }

    deinit { leave() }

    func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
        let leaveToWrite = try store.withBooks { (books, _) throws(DejaVuError) in
            books.take(arrival.id, bytes: bytes.readableBytes)
        }
        switch leaveToWrite {
        case .swallow: return
        case .tooMany:
            abandon()
            throw DejaVuError(.invalidArgument, "more bytes than the header of \(arrival.span) says")
        case .write: break
        }
        let starts = progress.withLock { progress in
            progress.queue.append(bytes)
            progress.queuedBytes += bytes.readableBytes
            defer { progress.isWriting = true }
            return !progress.isWriting
        }
        if starts { store.threads.start { isActive in self.drain(isActive) } }
        await untilQueued(atMost: store.options.queuedBytesMax)
        if let failure = progress.withLock({ $0.failure }) {
            abandon()
            throw failure
        }
    }

    func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
        await untilQueued(atMost: 0)
        defer { leave() }
        do throws(DejaVuError) {
            let frame = try await store.threads.run { () throws(DejaVuError) in try self.complete(checksum) }
            guard let frame else { return try await store.finish(arrival.id, intact: false) }
            store.changeState { state, _ in state.pending[arrival.id] = (place, frame) }
            return try await settle()
        } catch {
            abandon()
            throw error
        }
    }

    func abandon() {
        store.abandon(arrival.id)
        leave()
    }

    /// The ledger decides. A record that it refuses is made void, so that a restart does not find it whole.
    private func settle() async throws(DejaVuError) -> Int {
        do throws(DejaVuError) {
            return try await store.finish(arrival.id, intact: true)
        } catch {
            store.changeState { state, _ in state.pending[arrival.id] = nil }
            store.threads.start { isActive in
                guard isActive else { return }
                try? self.segment.file.writeWhole([UInt8](repeating: 0, count: RecordPrefix.byteCount), at: self.offset)
            }
            throw error
        }
    }

    // MARK: On the store's threads

    private func drain(_ isActive: Bool) {
        while let bytes = progress.withLock({ $0.queue.isEmpty ? nil : $0.queue.removeFirst() }) {
            let failure = isActive ? put(bytes) : DejaVuError(.unavailable, "\(store.name) is closed")
            let waiter = progress.withLock { progress in
                progress.queuedBytes -= bytes.readableBytes
                if let failure, progress.failure == nil { progress.failure = failure }
                return Self.waiter(of: &progress)
            }
            waiter?.resume()
            let isDone = progress.withLock { progress in
                if progress.queue.isEmpty { progress.isWriting = false }
                return progress.queue.isEmpty
            }
            if isDone { return }
        }
    }

    private func put(_ bytes: ByteBuffer) -> DejaVuError? {
        // The bytes themselves are written without the lock: this thread is the only one that advances.
        let (start, failure) = progress.withLock { ($0.writtenBytes, $0.failure) }
        if let failure { return failure }
        do throws(IOFailure) {
            if start == 0 { try segment.file.writeWhole(prefix.encoded() + header, at: offset) }
            try bytes.withUnsafeReadableIOBytes { (raw) throws(IOFailure) in
                try segment.file.writeWhole(raw, at: offset + prefix.payloadOffset + start)
            }
        } catch {
            store.report(.failed(error.error))
            return error.error
        }
        progress.withLock { progress in
            bytes.withUnsafeReadableBytes { progress.checksums.update($0) }
            progress.writtenBytes += bytes.readableBytes
        }
        return nil
    }

    /// Verifies the payload and makes the record whole.
    ///
    /// - Returns: nil if the bytes are not those that were sent.
    private func complete(_ checksum: UInt32) throws(DejaVuError) -> DiskFrame? {
        let (failure, written) = progress.withLock { ($0.failure, $0.writtenBytes) }
        if let failure { throw failure }
        var checksums = progress.withLock { $0.checksums }
        let blocks = checksums.end()
        guard written == prefix.payloadBytes, checksums.whole.value == checksum else { return nil }
        let trailer = FrameTrailer(blocks: blocks).encoded(after: prefix)
        let frame = DiskFrame(
            segment: segment.number, file: segment.file, offset: offset,
            payloadOffset: offset + prefix.payloadOffset, span: arrival.span, blocks: blocks,
            payloadBytes: prefix.payloadBytes, recordBytes: prefix.recordBytes)
        do throws(IOFailure) {
            try segment.file.writeWhole(trailer, at: offset + prefix.payloadOffset + prefix.payloadBytes)
        } catch {
            store.report(.failed(error.error))
            throw error.error
        }
        try store.noteUnsynced(frame, place: place)
        return frame
    }

    // MARK: Waiting

    private func untilQueued(atMost limit: Int) async {
        await withCheckedContinuation { continuation in
            let waiter = progress.withLock { progress in
                precondition(progress.waiter == nil, "a landing is used by one task")
                progress.waiter = (limit, continuation)
                return Self.waiter(of: &progress)
            }
            waiter?.resume()
        }
    }

    private static func waiter(of progress: inout Progress) -> CheckedContinuation<Void, Never>? {
        guard let waiter = progress.waiter, progress.queuedBytes <= waiter.shortEnough else { return nil }
        progress.waiter = nil
        return waiter.continuation
    }

    private func leave() {
        let isFirst = progress.withLock { progress in
            defer { progress.hasLeft = true }
            return !progress.hasLeft
        }
        if isFirst { store.leave(segment.number) }
    }
}

extension ByteBuffer {
    /// `withUnsafeReadableBytes` that throws what the body does.
    func withUnsafeReadableIOBytes(_ body: (UnsafeRawBufferPointer) throws(IOFailure) -> Void) throws(IOFailure) {
        let result = withUnsafeReadableBytes { bytes in
            Result { () throws(IOFailure) in try body(bytes) }
        }
        try result.get()
    }
}
