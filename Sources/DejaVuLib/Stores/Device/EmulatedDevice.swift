public import DejaVuCore
public import DejaVuKV
import Glibc
import Synchronization

/// Device memory that is not there: host memory, and copies that take as long as a device's would.
///
/// A copy operation costs a launch, and its bytes cost time on the link. Operations follow one another as on one copy
/// stream, and time is kept by absolute deadlines: short waits are owed and paid together, so that the sum is right
/// though no sleep is as short as one launch.
public final class EmulatedDevice: DeviceMemory, @unchecked Sendable {
    // Sendable: the pointers never change, and which bytes are copied when is the ledger's decision.
    /// What copies cost.
    public struct Cost: Hashable, Sendable {
        /// Of one copy operation. The default lies in the 5 to 7 us that a cudaMemcpyAsync call was measured to take
        /// for many small pieces: Wu et al., "DualPath: Breaking the Storage Bandwidth Bottleneck in Agentic LLM
        /// Inference", arXiv:2602.21548, section 5.2.
        public var launch = TimeSpan.microseconds(6)
        /// Of the link between device and host. The default is a PCI Express 4.0 link of 16 lanes as data sheets give
        /// it: 31.5 GB/s each way, less a fifth for what transfers reach of it.
        public var bytesPerSecond = 25e9
        /// Each byte stands for so many: memory may be that much smaller than what is emulated.
        public var byteScale = 1
        /// Whether a plan's runs go in one operation, through a kernel that packs them; otherwise each is one.
        public var gathersInOneLaunch = true

        public init() {}

        /// An operation of `launches` launches.
        public func time(launches: Int, bytes: Int) -> TimeSpan {
            let seconds = Double(bytes) * Double(byteScale) / bytesPerSecond
            return .seconds(Double(launches) * launch.seconds + seconds)
        }
    }

    /// What has been copied so far.
    public struct Usage: Hashable, Sendable {
        public var launches = 0
        public var bytes = 0
        /// What that takes on the emulated device.
        public var time = TimeSpan.zero
    }

    /// Less than this is owed, not slept.
    private static let owedMax = TimeSpan.microseconds(200)

    private let regions: [UnsafeMutableRawBufferPointer]
    private let cost: Cost
    private let pace = Mutex<(usage: Usage, free: Instant)>((Usage(), .zero))

    /// Zeroed memory for a layout, which costs nothing until it is written.
    ///
    /// - Throws: `.resourceExhausted` if there is not so much; `.invalidArgument` for a cost that makes no sense.
    public init(layout: KVLayout, cost: Cost) throws(DejaVuError) {
        guard cost.bytesPerSecond > 0, cost.bytesPerSecond.isFinite, cost.byteScale >= 1, cost.launch >= .zero else {
            throw DejaVuError(.invalidArgument, "no device has such copies", subject: "cost")
        }
        self.cost = cost
        var regions: [UnsafeMutableRawBufferPointer] = []
        for _ in 0..<layout.regionCount {
            guard let start = calloc(layout.regionBytes, 1) else {
                for region in regions { free(region.baseAddress) }
                throw DejaVuError(.resourceExhausted, "no memory for \(layout.totalBytes) bytes of KV")
            }
            regions.append(UnsafeMutableRawBufferPointer(start: start, count: layout.regionBytes))
        }
        self.regions = regions
    }

    deinit { for region in regions { free(region.baseAddress) } }

    public var usage: Usage { pace.withLock { $0.usage } }
    public var regionBytes: [Int] { regions.map(\.count) }

    /// Rows as an engine writes them: where they are, without cost.
    public func withRegion<Value>(_ region: Int, _ body: (UnsafeMutableRawBufferPointer) -> Value) -> Value {
        body(regions[region])
    }

    public func flush(region: Int, offset: Int, into bytes: UnsafeMutableRawBufferPointer) throws(DejaVuError) {
        let start = MonotonicTime.now
        bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: regions[region][offset..<offset + bytes.count]))
        pay(launches: 1, bytes: bytes.count, since: start)
    }

    public func fetch(_ bytes: UnsafeRawBufferPointer, region: Int, offset: Int) throws(DejaVuError) {
        let start = MonotonicTime.now
        UnsafeMutableRawBufferPointer(rebasing: regions[region][offset..<offset + bytes.count])
            .copyMemory(from: bytes)
        pay(launches: 1, bytes: bytes.count, since: start)
    }

    public func gather(
        _ plan: TransferPlan, cell: Int, into targets: [UnsafeMutableRawBufferPointer]
    ) throws(DejaVuError) {
        let start = MonotonicTime.now
        RunCopier.copy(
            plan, source: cell, destination: 0, from: regions.map { UnsafeRawBufferPointer($0) }, to: targets)
        pay(launches: cost.gathersInOneLaunch ? 1 : plan.runCount, bytes: plan.byteCount, since: start)
    }

    public func scatter(_ bytes: UnsafeRawBufferPointer, by plan: TransferPlan, cell: Int) throws(DejaVuError) {
        let start = MonotonicTime.now
        RunCopier.copy(plan, source: 0, destination: cell, from: [bytes], to: regions)
        pay(launches: cost.gathersInOneLaunch ? 1 : plan.runCount, bytes: plan.byteCount, since: start)
    }

    /// Waits until the device would be done.
    private func pay(launches: Int, bytes: Int, since start: Instant) {
        let time = cost.time(launches: launches, bytes: bytes)
        let free = pace.withLock { pace in
            pace.usage.launches += launches
            pace.usage.bytes += bytes
            pace.usage.time = pace.usage.time + time
            pace.free = max(pace.free, start) + time
            return pace.free
        }
        guard free - MonotonicTime.now > Self.owedMax else { return }
        var until = timespec(
            tv_sec: Int(free.nanoseconds / 1_000_000_000), tv_nsec: Int(free.nanoseconds % 1_000_000_000))
        while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nil) == EINTR {}
    }
}
