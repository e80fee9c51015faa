public import DejaVuKV

/// Executes transfer plans between memories that this process can address.
public enum RunCopier {
    /// Copies all bytes of a plan. The regions are those of the plan's layouts, in their order; source and destination
    /// must not overlap.
    ///
    /// - Precondition: every run lies within its regions.
    public static func copy(
        _ plan: TransferPlan, source: Int, destination: Int, from sources: [UnsafeRawBufferPointer],
        to destinations: [UnsafeMutableRawBufferPointer]
    ) {
        precondition(
            sources.count == plan.sourceRegionCount && destinations.count == plan.destinationRegionCount,
            "a plan has the regions of its layouts")
        sources.withUnsafeBufferPointer { sources in
            destinations.withUnsafeBufferPointer { destinations in
                for nest in plan.nests {
                    let first = plan.firstRun(of: nest, source: source, destination: destination)
                    nest.loops.withUnsafeBufferPointer { loops in
                        descend(loops[...], first, sources, destinations)
                    }
                }
            }
        }
    }

    /// The outer loops; the innermost one is a row of copies.
    private static func descend(
        _ loops: Slice<UnsafeBufferPointer<CopyLoop>>, _ first: CopyRun,
        _ sources: UnsafeBufferPointer<UnsafeRawBufferPointer>,
        _ destinations: UnsafeBufferPointer<UnsafeMutableRawBufferPointer>
    ) {
        guard let loop = loops.first else {
            let single = CopyLoop.once
            copyRow(single, first, sources, destinations)
            return
        }
        if loops.count == 1 {
            copyRow(loop, first, sources, destinations)
            return
        }
        var run = first
        for _ in 0..<loop.count {
            descend(loops.dropFirst(), run, sources, destinations)
            run.sourceRegion += loop.sourceRegionStride
            run.sourceOffset += loop.sourceStride
            run.destinationRegion += loop.destinationRegionStride
            run.destinationOffset += loop.destinationStride
        }
    }

    private static func copyRow(
        _ loop: CopyLoop, _ first: CopyRun, _ sources: UnsafeBufferPointer<UnsafeRawBufferPointer>,
        _ destinations: UnsafeBufferPointer<UnsafeMutableRawBufferPointer>
    ) {
        guard loop.sourceRegionStride == 0, loop.destinationRegionStride == 0 else {
            copyAcrossRegions(loop, first, sources, destinations)
            return
        }
        let (from, to) = (sources[first.sourceRegion], destinations[first.destinationRegion])
        let last = loop.count - 1
        check(first.sourceOffset, loop.sourceStride * last, first.bytes, from.count)
        check(first.destinationOffset, loop.destinationStride * last, first.bytes, to.count)
        guard let source = from.baseAddress, let destination = to.baseAddress else { return }
        let row = Row(
            count: loop.count, source: source + first.sourceOffset, sourceStride: loop.sourceStride,
            destination: destination + first.destinationOffset, destinationStride: loop.destinationStride)
        // Runs of a block of elements are so short that a call of memcpy costs more than the copy.
        switch first.bytes {
        case 1: row.copy(as: UInt8.self)
        case 2: row.copy(as: UInt16.self)
        case 4: row.copy(as: UInt32.self)
        case 8: row.copy(as: UInt64.self)
        case 16: row.copy(as: SIMD2<UInt64>.self)
        case 32: row.copy(as: SIMD4<UInt64>.self)
        case 64: row.copy(as: SIMD8<UInt64>.self)
        default: row.copy(bytes: first.bytes)
        }
    }

    private static func copyAcrossRegions(
        _ loop: CopyLoop, _ first: CopyRun, _ sources: UnsafeBufferPointer<UnsafeRawBufferPointer>,
        _ destinations: UnsafeBufferPointer<UnsafeMutableRawBufferPointer>
    ) {
        var run = first
        for _ in 0..<loop.count {
            let (from, to) = (sources[run.sourceRegion], destinations[run.destinationRegion])
            check(run.sourceOffset, 0, run.bytes, from.count)
            check(run.destinationOffset, 0, run.bytes, to.count)
            if let source = from.baseAddress, let destination = to.baseAddress {
                (destination + run.destinationOffset).copyMemory(
                    from: source + run.sourceOffset, byteCount: run.bytes)
            }
            run.sourceRegion += loop.sourceRegionStride
            run.sourceOffset += loop.sourceStride
            run.destinationRegion += loop.destinationRegionStride
            run.destinationOffset += loop.destinationStride
        }
    }

    @inline(__always)
    private static func check(_ offset: Int, _ reach: Int, _ bytes: Int, _ count: Int) {
        precondition(
            offset >= 0 && reach >= 0 && offset + reach + bytes <= count, "a run reaches beyond its region")
    }
}

/// Equal copies at equal distances.
private struct Row {
    let count: Int
    let source: UnsafeRawPointer
    let sourceStride: Int
    let destination: UnsafeMutableRawPointer
    let destinationStride: Int

    @inline(__always)
    func copy<Unit: BitwiseCopyable>(as unit: Unit.Type) {
        var (from, to) = (source, destination)
        for _ in 0..<count {
            to.storeBytes(of: from.loadUnaligned(as: Unit.self), as: Unit.self)
            from += sourceStride
            to += destinationStride
        }
    }

    func copy(bytes: Int) {
        var (from, to) = (source, destination)
        for _ in 0..<count {
            to.copyMemory(from: from, byteCount: bytes)
            from += sourceStride
            to += destinationStride
        }
    }
}
