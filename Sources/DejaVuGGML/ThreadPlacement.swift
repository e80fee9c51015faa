internal import CGGML
internal import CLinux
import DejaVuCore

/// Which processors each of several compute threads may use: no two share one.
///
/// The threads meet at a barrier some hundred times in a pass and spin there. Two that the system has put on one
/// processor take a time slice for each meeting, and as long as all processors are busy it sees no reason to move them.
/// A thread with several processors of its own is still moved away from busy ones; a lone thread waits for nobody and
/// is left alone.
package enum ThreadPlacement {
    /// One set for each thread: every processor belongs to exactly one. None where that would bring nothing.
    package static func sets(threads: Int, processors: [Int]) -> [[Int]] {
        guard threads > 1, processors.count >= threads else { return [] }
        return (0..<threads).map { thread in
            stride(from: thread, to: processors.count, by: threads).map { processors[$0] }
        }
    }

    /// The processors that this process may use, ascending.
    static var allowedProcessors: [Int] {
        var processors: [Int] = []
        var next = clinux_allowed_cpu(0)
        while next >= 0 {
            processors.append(Int(next))
            next = clinux_allowed_cpu(next + 1)
        }
        return processors
    }
}

extension Backend {
    private final class Sets {
        let values: [[Int32]]
        init(_ values: [[Int]]) { self.values = values.map { $0.map { Int32($0) } } }
    }

    /// Binds each thread of the pool to its set, from within: ggml itself can only bind to one processor each.
    ///
    /// - Throws: `.resourceExhausted`, `.internalError` if not even that can be computed.
    func bind(to sets: [[Int]]) throws(DejaVuError) {
        guard !sets.isEmpty else { return }
        precondition(sets.count == threadCount, "\(sets.count) sets for \(threadCount) threads")
        let builder = GraphBuilder(nodeCountMax: 4)
        let shared = Sets(sets)
        builder.retain(shared)
        let node = builder.custom(
            (threadCount, 1), [], taskCount: threadCount,
            { _, thread, _, data in
                guard let data else { return }
                let set = Unmanaged<Sets>.fromOpaque(data).takeUnretainedValue().values[Int(thread)]
                // What was taken from the process since it was asked stays as it is.
                _ = clinux_bind_thread(set, Int32(set.count))
            }, Unmanaged.passUnretained(shared).toOpaque())
        let graph = Graph(of: builder, outputs: [node], nodeCountMax: 4)
        try GraphAllocator(backend: self).allocate(graph)
        try compute(graph)
    }
}
