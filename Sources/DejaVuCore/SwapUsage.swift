/// What a worker has copied between its device and the memory below it: totals since its start.
public struct SwapUsage: Hashable, Codable, Sendable {
    /// Sequences whose rows were brought to the device.
    public var fetches: Int = 0
    /// Bytes of rows, as accounted for.
    public var bytesIn: Int = 0
    public var bytesOut: Int = 0
    /// How long bringing rows in took, beside the passes, and how long passes waited for it.
    public var fetching: TimeSpan = .zero
    public var waited: TimeSpan = .zero
    public init() {}

    /// Bytes that are brought in per second of copying; nil before the first.
    public var bytesInPerSecond: Double? {
        bytesIn > 0 && fetching > .zero ? Double(bytesIn) / fetching.seconds : nil
    }

    /// Sums stay here, so that no number of workers makes them overflow.
    private static let most = 1 << 61

    public static func + (left: SwapUsage, right: SwapUsage) -> SwapUsage {
        func sum(_ left: Int, _ right: Int) -> Int { min(left.addingReportingOverflow(right).partialValue, most) }
        var total = SwapUsage()
        total.fetches = sum(left.fetches, right.fetches)
        total.bytesIn = sum(left.bytesIn, right.bytesIn)
        total.bytesOut = sum(left.bytesOut, right.bytesOut)
        total.fetching = TimeSpan(
            nanoseconds: Int64(sum(Int(left.fetching.nanoseconds), Int(right.fetching.nanoseconds))))
        total.waited = TimeSpan(nanoseconds: Int64(sum(Int(left.waited.nanoseconds), Int(right.waited.nanoseconds))))
        return total
    }
}
