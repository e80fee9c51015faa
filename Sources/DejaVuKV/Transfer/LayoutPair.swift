import DejaVuCore

/// Two layouts side by side: from here the loops of a plan come.
struct LayoutPair {
    let source: KVLayout
    let destination: KVLayout
    let layers: LayerRange
    let positions: Int

    /// Consecutive elements of a head that are regular on both sides.
    private struct Piece {
        /// Elements from the head's start.
        let start: Int
        let count: Int
        /// How often it comes again, and after how many elements.
        let loops: [(count: Int, elements: Int)]
    }

    func nests() -> [CopyNest] {
        let isUniform = source.keys == source.values && destination.keys == destination.values
        let planes: [KVPlane] = isUniform ? [.key] : [.key, .value]
        return planes.flatMap { plane in
            pieces(source.strides(plane).split, destination.strides(plane).split).map { piece in
                nest(plane, piece, bothPlanes: isUniform)
            }
        }
    }

    /// Cuts a head where either side does.
    private func pieces(_ left: Int, _ right: Int) -> [Piece] {
        let size = source.row.headSize
        let small = min(left, right)
        let large = max(left, right)
        if large % small == 0 {
            return [Piece(start: 0, count: small, loops: [(large / small, small), (size / large, large)])]
        }
        let period = leastCommonMultiple(left, right)
        let cuts = (0...period).filter { $0 % left == 0 || $0 % right == 0 }
        return zip(cuts, cuts.dropFirst()).map { start, end in
            Piece(start: start, count: end - start, loops: [(size / period, period)])
        }
    }

    private func nest(_ plane: KVPlane, _ piece: Piece, bothPlanes: Bool) -> CopyNest {
        let from = source.strides(plane)
        let to = destination.strides(plane)
        var loops: [CopyLoop] = [
            CopyLoop(
                count: layers.count, sourceRegionStride: source.regionStrides.layer, sourceStride: from.layer,
                destinationRegionStride: destination.regionStrides.layer, destinationStride: to.layer)
        ]
        if bothPlanes {
            loops.append(
                CopyLoop(
                    count: 2, sourceRegionStride: source.regionStrides.plane, sourceStride: from.plane,
                    destinationRegionStride: destination.regionStrides.plane, destinationStride: to.plane))
        }
        func add(_ count: Int, _ sourceStride: Int, _ destinationStride: Int) {
            loops.append(
                CopyLoop(
                    count: count, sourceRegionStride: 0, sourceStride: sourceStride, destinationRegionStride: 0,
                    destinationStride: destinationStride))
        }
        add(source.row.headCount, from.head, to.head)
        for (count, elements) in piece.loops { add(count, from.offset(elements), to.offset(elements)) }
        add(positions, from.position, to.position)
        add(piece.count, from.element, to.element)
        return CopyNest(
            first: first(plane, piece.start), loops: loops, sourceCells: (from.slot, from.position),
            destinationCells: (to.slot, to.position))
    }

    private func first(_ plane: KVPlane, _ element: Int) -> CopyRun {
        let from = source.address(of: plane, layer: layers.first, cell: 0, head: 0, element: element)
        let to = destination.address(of: plane, layer: layers.first, cell: 0, head: 0, element: element)
        return CopyRun(
            sourceRegion: from.region, sourceOffset: from.offset, destinationRegion: to.region,
            destinationOffset: to.offset, bytes: source.row.elementBytes)
    }

    private func leastCommonMultiple(_ left: Int, _ right: Int) -> Int {
        var (a, b) = (left, right)
        while b != 0 { (a, b) = (b, a % b) }
        return left / a * right
    }
}

extension KVLayout.Strides {
    /// How far apart two elements of a head are that lie so many elements apart, if both begin blocks, or none is
    /// passed.
    fileprivate func offset(_ elements: Int) -> Int {
        elements % split == 0 && block != 0 ? elements / split * block : elements * element
    }
}

extension LayoutPair {
    /// For each plane one nest whose runs are as long as the source is contiguous, within one layer; they follow one
    /// another in the destination.
    static func naiveNests(_ source: KVLayout, layers: LayerRange, positions: Int) -> [CopyNest] {
        var offset = 0
        return KVPlane.allCases.map { plane in
            let strides = source.strides(plane)
            let start = source.address(of: plane, layer: layers.first, cell: 0, head: 0, element: 0)
            var axes: [(count: Int, stride: Int)] = [
                (source.row.headCount, strides.head), (source.row.headSize / strides.split, strides.block),
                (positions, strides.position), (strides.split, strides.element),
            ].filter { $0.count > 1 }
            axes.sort { $0.stride < $1.stride }
            var run = source.row.elementBytes
            while let axis = axes.first, axis.stride == run {
                run *= axis.count
                axes.removeFirst()
            }
            var packed = run
            var loops: [CopyLoop] = []
            for axis in axes {
                loops.append(
                    CopyLoop(
                        count: axis.count, sourceRegionStride: 0, sourceStride: axis.stride,
                        destinationRegionStride: 0, destinationStride: packed))
                packed *= axis.count
            }
            loops.append(
                CopyLoop(
                    count: layers.count, sourceRegionStride: source.regionStrides.layer, sourceStride: strides.layer,
                    destinationRegionStride: 0, destinationStride: packed))
            let first = CopyRun(
                sourceRegion: start.region, sourceOffset: start.offset, destinationRegion: 0,
                destinationOffset: offset, bytes: run)
            offset += packed * layers.count
            return CopyNest(
                first: first, loops: loops, joining: false, sourceCells: (strides.slot, strides.position),
                destinationCells: (0, 0))
        }
    }
}
