public import DejaVuCore
public import DejaVuKV
public import NIOCore

extension DeviceStore: RunSource {
    /// Runs that are copied with one visit to the copy thread.
    private static let visitRunsMax = 4096
    private static let visitBytesMax = 1 << 20

    public func runs(
        of span: Span, merging: Bool, _ body: (ByteBuffer) async throws(DejaVuError) -> Void
    ) async throws(DejaVuError) {
        let (tenancy, place) = try withBooks { (books, _) throws(DejaVuError) in try books.pin(span) }
        defer { unpin(tenancy) }
        let plan = try plans.fromDevice(span.layers, span.positions.count)
        let planeBytes = layout.row.planeBytes
        var runs: [CopyRun] = []
        for run in plan.runs(source: place.start + span.positions.lowerBound, destination: 0) {
            if merging { runs.append(run) } else { runs += run.cut(every: planeBytes) }
        }
        runs.sort { $0.destinationOffset < $1.destinationOffset }
        let memory = memory
        var index = 0
        while index < runs.count {
            var end = index
            var byteCount = 0
            while end < runs.count, end == index || byteCount + runs[end].bytes <= Self.visitBytesMax,
                end - index < Self.visitRunsMax
            {
                byteCount += runs[end].bytes
                end += 1
            }
            let visit = Array(runs[index..<end])
            let total = byteCount
            var bytes = try await copyThread.run { () throws(DejaVuError) in
                try memory.flush(visit, byteCount: total)
            }
            for run in visit {
                guard let piece = bytes.readSlice(length: run.bytes) else { preconditionFailure("a run is missing") }
                try await body(piece)
            }
            index = end
        }
    }
}

extension CopyRun {
    /// The run in parts that do not cross multiples of a length in the destination: one K or V row each.
    fileprivate func cut(every length: Int) -> [CopyRun] {
        var parts: [CopyRun] = []
        var done = 0
        while done < bytes {
            let count = min(bytes - done, length - (destinationOffset + done) % length)
            parts.append(
                CopyRun(
                    sourceRegion: sourceRegion, sourceOffset: sourceOffset + done,
                    destinationRegion: destinationRegion, destinationOffset: destinationOffset + done, bytes: count))
            done += count
        }
        return parts
    }
}

extension DeviceMemory {
    /// Each run by an operation of its own, one behind the other.
    fileprivate func flush(_ runs: [CopyRun], byteCount: Int) throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: byteCount)
        var failure: DejaVuError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: byteCount) { bytes in
            var done = 0
            for run in runs {
                do throws(DejaVuError) {
                    let target = UnsafeMutableRawBufferPointer(rebasing: bytes[done..<done + run.bytes])
                    try flush(region: run.sourceRegion, offset: run.sourceOffset, into: target)
                } catch {
                    failure = error
                    break
                }
                done += run.bytes
            }
            return done
        }
        if let failure { throw failure }
        return buffer
    }
}
