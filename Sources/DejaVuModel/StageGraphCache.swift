import DejaVuCore
import DejaVuGGML

/// Keeps the graphs that were used last. All share one memory to compute in.
struct StageGraphCache {
    private let builder: StageGraphBuilder
    private let allocator: GraphAllocator
    private let countMax: Int
    /// The one used last comes last.
    private var graphs: [StageGraph] = []
    private var generation = 0

    init(builder: StageGraphBuilder, backend: Backend, countMax: Int) {
        self.builder = builder
        self.countMax = countMax
        allocator = GraphAllocator(backend: backend)
    }

    var computeByteCount: Int { allocator.byteCount }

    /// The graph for a key, with memory, ready for its inputs.
    mutating func graph(_ key: StageGraphKey) throws(DejaVuError) -> StageGraph {
        if let index = graphs.firstIndex(where: { $0.key == key }) {
            let found = graphs[index]
            if index != graphs.count - 1 {
                graphs.remove(at: index)
                graphs.append(found)
            }
            return found
        }
        let made = builder.build(key)
        do throws(DejaVuError) {
            try allocator.allocate(made.graph)
        } catch {
            graphs.removeAll()
            throw error
        }
        if allocator.generation != generation {
            // The memory has moved: what the other graphs point to is gone.
            graphs.removeAll()
            generation = allocator.generation
        }
        if graphs.count == countMax { graphs.removeFirst() }
        graphs.append(made)
        return made
    }
}
