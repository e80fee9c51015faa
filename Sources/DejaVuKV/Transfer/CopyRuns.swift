/// The single copies of a plan at a place, without allocating. Within a nest they ascend in the source.
public struct CopyRuns: Sequence, IteratorProtocol, Sendable {
    private let nests: [CopyNest]
    private let source: (slot: Int, cell: Int)
    private let destination: (slot: Int, cell: Int)
    private var nest = 0
    /// The copy that is next; nil at the end.
    private var current: CopyRun?
    /// How many turns each loop of the current nest has made.
    private var turns = SIMD8<Int>()

    init(nests: [CopyNest], source: (slot: Int, cell: Int), destination: (slot: Int, cell: Int)) {
        self.nests = nests
        self.source = source
        self.destination = destination
        current = nests.first?.first(source: source, destination: destination)
    }

    public mutating func next() -> CopyRun? {
        guard var run = current else { return nil }
        let mayContinue = nests[nest].corners != 0
        advance()
        while mayContinue, let following = current, run.isContinued(by: following) {
            run.bytes += following.bytes
            advance()
        }
        return run
    }

    private mutating func advance() {
        guard var run = current else { return }
        var depth = nests[nest].loops.count - 1
        while depth >= 0 {
            let loop = nests[nest].loops[depth]
            turns[depth] += 1
            if turns[depth] < loop.count {
                run.move(loop, 1)
                current = run
                return
            }
            turns[depth] = 0
            run.move(loop, 1 - loop.count)
            depth -= 1
        }
        nest += 1
        current = nest < nests.count ? nests[nest].first(source: source, destination: destination) : nil
    }
}

extension CopyRun {
    @inline(__always)
    fileprivate mutating func move(_ loop: CopyLoop, _ turns: Int) {
        sourceRegion += turns * loop.sourceRegionStride
        sourceOffset += turns * loop.sourceStride
        destinationRegion += turns * loop.destinationRegionStride
        destinationOffset += turns * loop.destinationStride
    }
}
