import DejaVuCore
import DejaVuKV

/// One segment file, as far as it must be known without reading it.
struct DiskSegment: Sendable {
    let number: UInt64
    let path: String
    let file: any DiskFile
    let salt: UInt64
    /// Where the next record begins.
    var end: Int
    /// Frames that are landing in it.
    var landings = 0
    /// Committed frames by place.
    var live: [Int: Int] = [:]
    /// Sequences with frames in it that were released.
    var dead: Set<SequenceID> = []
    /// Releases that are written in it.
    var releases: Set<SequenceID> = []
    /// Committed or about to be, and not yet synced.
    var unsynced: [(place: Int, frame: DiskFrame)] = []
    var unsyncedBytes = 0
    /// Nothing more is written to it.
    var isSealed = false
    /// A sync has failed: what landed since the last good one is not trusted.
    var isBroken = false

    var isUnused: Bool { live.isEmpty && landings == 0 }
}

/// What a disk store keeps under its lock.
struct DiskState: Sendable {
    var books: StoreBooks<Int>
    var sequences: [Int: DiskSequence] = [:]
    var placesGiven = 0
    /// Whole frames whose commit is the ledger's to decide.
    var pending: [ArrivalID: (place: Int, frame: DiskFrame)] = [:]
    var segments: [UInt64: DiskSegment] = [:]
    /// The one that records are appended to.
    var active: UInt64?
    var nextSegment: UInt64 = 0
    var fileBytes = 0
    var promisedBytes = 0
    var isClosed = false

    init(_ ledger: Ledger) { books = StoreBooks(ledger) }

    mutating func addPlace(_ sequence: DiskSequence) -> Int {
        placesGiven += 1
        sequences[placesGiven] = sequence
        promisedBytes += sequence.promisedBytes
        return placesGiven
    }

    mutating func removePlace(_ place: Int) {
        guard let gone = sequences.removeValue(forKey: place) else { return }
        promisedBytes -= gone.promisedBytes
        for frame in gone.frames { bury(frame, of: place, gone.sequence) }
    }

    /// A frame became readable.
    mutating func keep(_ frame: DiskFrame, in place: Int) {
        guard sequences[place] != nil else { return }
        sequences[place]?.add(frame)
        segments[frame.segment]?.live[place, default: 0] += 1
    }

    /// A frame is not to be read any more.
    mutating func bury(_ frame: DiskFrame, of place: Int, _ sequence: SequenceID) {
        guard let count = segments[frame.segment]?.live[place] else { return }
        segments[frame.segment]?.live[place] = count > 1 ? count - 1 : nil
        segments[frame.segment]?.dead.insert(sequence)
    }

    mutating func drop(in place: Int, where isGone: (DiskFrame) -> Bool) {
        guard var sequence = sequences[place] else { return }
        let gone = sequence.remove(where: isGone)
        sequences[place] = sequence
        for frame in gone { bury(frame, of: place, sequence.sequence) }
    }

    /// What a ledger's decisions mean for the frames that waited for them, and for places that came free.
    mutating func apply(_ followup: inout StoreBooks<Int>.Followup) {
        while !followup.ended.isEmpty {
            let ended = followup.ended.removeFirst()
            guard let (place, frame) = pending.removeValue(forKey: ended.arrival), ended.isCommitted else { continue }
            keep(frame, in: place)
            if segments[frame.segment]?.isBroken == true {
                let error = DejaVuError(.unavailable, "the segment's sync failed while the frame landed")
                lose(frame, in: place, because: error, &followup)
            }
        }
        for place in followup.freed { removePlace(place) }
        followup.freed = []
    }

    /// Room for a record in the active segment; nil if there is none and a new one must be made.
    mutating func reserve(_ bytes: Int, segmentBytes: Int) -> (segment: DiskSegment, offset: Int)? {
        guard let active, var segment = segments[active], !segment.isSealed, !segment.isBroken,
            segment.end == SegmentHeader.byteCount || segment.end + bytes <= segmentBytes
        else { return nil }
        let offset = segment.end
        segment.end += bytes
        segment.landings += 1
        segments[active] = segment
        fileBytes += bytes
        return (segment, offset)
    }

    /// Takes out the segments in which nothing is alive and whose releases nobody needs any more: a release must
    /// outlive the frames that it makes void.
    mutating func takeUnused() -> [DiskSegment] {
        var candidates = Set(segments.values.filter { $0.isUnused && $0.end > SegmentHeader.byteCount }.map(\.number))
        var changed = true
        while changed {
            changed = false
            var needed: Set<SequenceID> = []
            for segment in segments.values where !candidates.contains(segment.number) { needed.formUnion(segment.dead) }
            for number in candidates {
                guard let segment = segments[number], !segment.releases.isDisjoint(with: needed) else { continue }
                candidates.remove(number)
                changed = true
            }
        }
        return candidates.sorted().compactMap { number in
            if active == number { active = nil }
            guard let segment = segments.removeValue(forKey: number) else { return nil }
            fileBytes -= segment.end
            return segment
        }
    }
}
