import DejaVuCore
import DejaVuKV
import NIOCore

/// Reads rows out of frames, and verifies every byte of them. Used on a disk store's threads.
struct DiskReading {
    struct Failure: Sendable {
        let frame: DiskFrame
        let what: String
    }

    /// Bytes of a frame that are read and verified at once: a whole number of blocks.
    private static let windowBytes = 16 * FrameTrailer.blockBytes

    let span: Span
    let rowBytes: Int

    /// Appends the packed rows of the span.
    ///
    /// - Returns: the first frame that is bad; then nothing was appended.
    func fill(_ buffer: inout ByteBuffer, from pieces: [DiskPieces]) -> Failure? {
        let byteCount = span.rowCount * rowBytes
        var failure: Failure?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: byteCount) { target in
            var scratch: [UInt8] = []
            for piece in pieces where failure == nil {
                if let what = copy(piece, to: target, &scratch) { failure = Failure(frame: piece.frame, what: what) }
            }
            return failure == nil ? byteCount : 0
        }
        return failure
    }

    /// One contiguous copy from a frame's payload to the result.
    private struct Run {
        let source: Int
        let target: Int
        let count: Int
    }

    private func runs(_ piece: DiskPieces) -> [Run] {
        var runs: [Run] = []
        let frame = piece.frame.span
        for rows in piece.rows {
            let inFrame = (rows.layer - frame.layers.first) * frame.positions.count
            let inSpan = (rows.layer - span.layers.first) * span.positions.count
            let run = Run(
                source: (inFrame + rows.positions.lowerBound - frame.positions.lowerBound) * rowBytes,
                target: (inSpan + rows.positions.lowerBound - span.positions.lowerBound) * rowBytes,
                count: rows.positions.count * rowBytes)
            if let last = runs.last, last.source + last.count == run.source, last.target + last.count == run.target {
                runs[runs.count - 1] = Run(source: last.source, target: last.target, count: last.count + run.count)
            } else {
                runs.append(run)
            }
        }
        return runs
    }

    /// - Returns: what is wrong with the frame.
    private func copy(
        _ piece: DiskPieces, to target: UnsafeMutableRawBufferPointer, _ scratch: inout [UInt8]
    ) -> String? {
        let frame = piece.frame
        let runs = runs(piece)
        guard let first = runs.first, let last = runs.last else { return nil }
        var index = 0
        var window = first.source / FrameTrailer.blockBytes * FrameTrailer.blockBytes
        let end = last.source + last.count
        while window < end {
            let windowEnd = min(window + Self.windowBytes, frame.payloadBytes, Self.blockEnd(end))
            while index < runs.count, runs[index].source + runs[index].count <= window { index += 1 }
            guard index < runs.count else { break }
            let run = runs[index]
            if run.source >= windowEnd {
                // Nothing is wanted between.
                window = run.source / FrameTrailer.blockBytes * FrameTrailer.blockBytes
                continue
            }
            if run.source <= window, run.source + run.count >= windowEnd {
                let place = run.target + window - run.source
                let direct = UnsafeMutableRawBufferPointer(rebasing: target[place..<place + windowEnd - window])
                if let what = load(frame, window, direct) { return what }
            } else {
                if scratch.isEmpty { scratch = [UInt8](repeating: 0, count: Self.windowBytes) }
                let what = scratch.withUnsafeMutableBytes { scratch in
                    let bytes = UnsafeMutableRawBufferPointer(rebasing: scratch[..<(windowEnd - window)])
                    if let what = load(frame, window, bytes) { return String?.some(what) }
                    for run in runs[index...] where run.source < windowEnd {
                        let from = max(run.source, window)
                        let to = min(run.source + run.count, windowEnd)
                        guard from < to else { continue }
                        let place = run.target + from - run.source
                        target[place..<place + to - from].copyBytes(from: bytes[(from - window)..<(to - window)])
                    }
                    return nil
                }
                if let what { return what }
            }
            window = windowEnd
        }
        return nil
    }

    private static func blockEnd(_ byte: Int) -> Int {
        (byte + FrameTrailer.blockBytes - 1) / FrameTrailer.blockBytes * FrameTrailer.blockBytes
    }

    /// Reads whole blocks of the payload and verifies them.
    private func load(_ frame: DiskFrame, _ start: Int, _ bytes: UnsafeMutableRawBufferPointer) -> String? {
        do throws(IOFailure) {
            try frame.file.readWhole(bytes, at: frame.payloadOffset + start)
        } catch {
            return error.description
        }
        for offset in stride(from: 0, to: bytes.count, by: FrameTrailer.blockBytes) {
            let block = bytes[offset..<min(offset + FrameTrailer.blockBytes, bytes.count)]
            let number = (start + offset) / FrameTrailer.blockBytes
            guard Checksum.of(UnsafeRawBufferPointer(rebasing: block)) == frame.blocks[number] else {
                return "block \(number) of a frame in segment \(frame.segment) has another checksum"
            }
        }
        return nil
    }
}
