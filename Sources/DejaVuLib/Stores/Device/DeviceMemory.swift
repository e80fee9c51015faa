public import DejaVuCore
public import DejaVuKV

/// The memory of a device as KV needs it: regions that are copied to and from, never addressed.
///
/// A store makes all calls on its own copy thread; they block until the copy is done, and two never overlap. Regions
/// and offsets are those of the layout that the store was given.
public protocol DeviceMemory: AnyObject, Sendable {
    /// Bytes of each region.
    var regionBytes: [Int] { get }

    /// Copies one contiguous run from the device.
    func flush(region: Int, offset: Int, into bytes: UnsafeMutableRawBufferPointer) throws(DejaVuError)

    /// Copies one contiguous run to the device.
    func fetch(_ bytes: UnsafeRawBufferPointer, region: Int, offset: Int) throws(DejaVuError)

    /// Copies all runs of a plan from the device into the regions of its destination. `cell` holds the first position.
    ///
    /// A device that gathers in one operation does it here; others copy run by run.
    func gather(_ plan: TransferPlan, cell: Int, into regions: [UnsafeMutableRawBufferPointer]) throws(DejaVuError)

    /// Copies all runs of a plan from packed rows to the device. `cell` takes the first position.
    func scatter(_ bytes: UnsafeRawBufferPointer, by plan: TransferPlan, cell: Int) throws(DejaVuError)
}

extension DeviceMemory {
    public func gather(
        _ plan: TransferPlan, cell: Int, into regions: [UnsafeMutableRawBufferPointer]
    ) throws(DejaVuError) {
        for run in plan.runs(source: cell, destination: 0) {
            let target = regions[run.destinationRegion][run.destinationOffset..<run.destinationOffset + run.bytes]
            try flush(
                region: run.sourceRegion, offset: run.sourceOffset,
                into: UnsafeMutableRawBufferPointer(rebasing: target))
        }
    }

    public func scatter(_ bytes: UnsafeRawBufferPointer, by plan: TransferPlan, cell: Int) throws(DejaVuError) {
        for run in plan.runs(source: 0, destination: cell) {
            let source = bytes[run.sourceOffset..<run.sourceOffset + run.bytes]
            try fetch(
                UnsafeRawBufferPointer(rebasing: source), region: run.destinationRegion, offset: run.destinationOffset)
        }
    }
}
