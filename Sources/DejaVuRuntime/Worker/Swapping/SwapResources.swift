/// What a worker has for KV below its device: host memory, then files.
///
/// How much each stage and replica may take is what its cells were given out for; all of them are spread over both in
/// the same shares.
package struct SwapResources: Sendable {
    /// How fast an emulated machine copies; a real one takes its time by itself.
    package struct Pace: Hashable, Sendable {
        /// Seconds for each byte as accounted for; 0 for no time at all.
        package var hostSecondsPerByte = 0.0
        package var diskSecondsPerByte = 0.0
        package init() {}
    }

    package let hostBytes: Int
    /// Where files go, and how much of them there may be.
    package let directory: String?
    package let diskBytes: Int
    package let pace: Pace
    package let meter: SwapMeter

    package init(
        hostBytes: Int, directory: String? = nil, diskBytes: Int = 0, pace: Pace = Pace(),
        meter: SwapMeter = SwapMeter()
    ) {
        self.hostBytes = hostBytes
        self.directory = directory
        self.diskBytes = directory == nil ? 0 : diskBytes
        self.pace = pace
        self.meter = meter
    }

    /// What both hold.
    package var byteCount: Int { hostBytes + diskBytes }

    /// How many of so many units are to lie in host memory.
    func hostCount(of units: Int) -> Int {
        byteCount > 0 ? Int((Double(units) * Double(hostBytes) / Double(byteCount)).rounded(.up)) : units
    }
}
