import DejaVuCore
import DejaVuKV

/// Finds the whole records of a segment file. The file may be torn, damaged or made by somebody hostile.
struct SegmentScan {
    struct FoundFrame {
        let frame: DiskFrame
        let record: FrameRecord
    }

    private static let windowBytes = 16 * FrameTrailer.blockBytes

    let header: SegmentHeader
    let file: any DiskFile
    let byteCount: Int
    private(set) var frames: [FoundFrame] = []
    private(set) var releases: [ReleaseRecord] = []
    /// Frames whose header is whole and whose rest is not.
    private(set) var torn: [FrameRecord] = []
    private var buffer = [UInt8](repeating: 0, count: windowBytes)

    /// - Throws: what the header has wrong.
    init(_ file: any DiskFile) throws(DejaVuError) {
        self.file = file
        do throws(IOFailure) {
            byteCount = try file.byteCount()
        } catch { throw error.error }
        guard byteCount >= SegmentHeader.byteCount else { throw .badRecord("a segment of \(byteCount) bytes") }
        guard let bytes = Self.read(file, 0, SegmentHeader.byteCount) else { throw .badRecord("an unreadable segment") }
        header = try SegmentHeader.decoded(from: bytes)
    }

    mutating func run() {
        var offset = RecordPrefix.aligned(SegmentHeader.byteCount)
        while offset + RecordPrefix.byteCount <= byteCount {
            offset = take(at: offset) ?? next(after: offset)
        }
    }

    /// - Returns: where the next record begins; nil if there is none here.
    private mutating func take(at offset: Int) -> Int? {
        guard let bytes = Self.read(file, offset, RecordPrefix.byteCount),
            let prefix = try? RecordPrefix.decoded(from: bytes), prefix.salt == header.salt,
            prefix.recordBytes <= byteCount - offset || isLast(prefix, at: offset)
        else { return nil }
        let end = min(offset + prefix.recordBytes, byteCount)
        guard let header = Self.read(file, offset + RecordPrefix.byteCount, prefix.headerBytes),
            Checksum.of(header) == prefix.headerChecksum
        else { return end }
        switch prefix.kind {
        case .release:
            if let release = try? ReleaseRecord.decoded(from: header) { releases.append(release) }
        case .frame:
            guard let record = try? FrameRecord.decoded(from: header) else { return end }
            if let frame = frame(prefix, record, at: offset) {
                frames.append(FoundFrame(frame: frame, record: record))
            } else {
                torn.append(record)
            }
        }
        return end
    }

    /// The last record may end before the next multiple of the alignment, or be cut off.
    private func isLast(_ prefix: RecordPrefix, at offset: Int) -> Bool {
        prefix.headerBytes <= byteCount - offset - RecordPrefix.byteCount
    }

    /// The frame, if all of it is there and agrees.
    private mutating func frame(_ prefix: RecordPrefix, _ record: FrameRecord, at offset: Int) -> DiskFrame? {
        let payload = offset + prefix.payloadOffset
        guard record.span.payloadBytes(rowBytes: header.rowBytes) == prefix.payloadBytes,
            header.layers.contains(record.ticketLayers),
            payload + prefix.payloadBytes + prefix.trailerBytes <= byteCount,
            let bytes = Self.read(file, payload + prefix.payloadBytes, prefix.trailerBytes),
            let trailer = try? FrameTrailer(bytes, after: prefix)
        else { return nil }
        var done = 0
        while done < prefix.payloadBytes {
            let count = min(Self.windowBytes, prefix.payloadBytes - done)
            let file = file
            let isWhole = buffer.withUnsafeMutableBytes { buffer in
                let window = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                guard (try? file.readWhole(window, at: payload + done)) != nil else { return false }
                return stride(from: 0, to: count, by: FrameTrailer.blockBytes).allSatisfy { start in
                    let block = window[start..<min(start + FrameTrailer.blockBytes, count)]
                    return Checksum.of(UnsafeRawBufferPointer(rebasing: block))
                        == trailer.blocks[(done + start) / FrameTrailer.blockBytes]
                }
            }
            guard isWhole else { return nil }
            done += count
        }
        return DiskFrame(
            segment: header.number, file: file, offset: offset, payloadOffset: payload, span: record.span,
            blocks: trailer.blocks, payloadBytes: prefix.payloadBytes, recordBytes: prefix.recordBytes)
    }

    /// The next place behind `offset` where a record may begin: where the salt stands.
    private mutating func next(after offset: Int) -> Int {
        let alignment = RecordPrefix.alignment
        var at = offset + alignment
        while at + RecordPrefix.byteCount <= byteCount {
            let count = min(Self.windowBytes, (byteCount - at) / alignment * alignment + RecordPrefix.byteCount)
            let length = min(count, byteCount - at)
            let file = file
            let salt = header.salt
            let found = buffer.withUnsafeMutableBytes { buffer -> Int? in
                let window = UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
                guard (try? file.readWhole(window, at: at)) != nil else { return nil }
                return stride(from: 0, through: length - 8, by: alignment).first {
                    UInt64(littleEndian: window.loadUnaligned(fromByteOffset: $0, as: UInt64.self)) == salt
                }
            }
            if let found { return at + found }
            at += max(length / alignment * alignment, alignment)
        }
        return byteCount
    }

    private static func read(_ file: any DiskFile, _ offset: Int, _ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let isRead = bytes.withUnsafeMutableBytes { (try? file.readWhole($0, at: offset)) != nil }
        return isRead ? bytes : nil
    }
}
