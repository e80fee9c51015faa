package import DejaVuCore

/// How many positions of KV a pipeline of equal machines can hold. The stage with the most layers decides.
package struct MemoryBudget: Hashable, Sendable {
    /// On the devices, in all.
    package let devicePositions: Int
    /// On the devices if microbatches are swapped: host memory holds all, and the devices two of them at a time.
    package let swappedPositions: Int
    /// That host memory holds.
    package let hostPositions: Int

    /// More than anyone asks for, and small enough to add up.
    package static let unlimited = 1 << 40

    /// - Throws: `.resourceExhausted` if not even the weights fit.
    package init(_ profile: ModelProfile, stages: Int) throws(DejaVuError) {
        let layers = (profile.layerCount + stages - 1) / stages
        guard profile.deviceMemoryBytes > 0 else {
            devicePositions = Self.unlimited
            swappedPositions = Self.unlimited
            hostPositions = Self.unlimited
            return
        }
        let free = profile.deviceMemoryBytes - profile.weightBytesPerLayer * layers
        guard free >= 0 else {
            throw DejaVuError(
                .resourceExhausted,
                "\(layers) layers of weights, \(Self.gigabytes(profile.weightBytesPerLayer * layers)), do not fit in "
                    + Self.gigabytes(profile.deviceMemoryBytes))
        }
        let bytesPerPosition = profile.kvBytesPerPositionAndLayer * layers
        devicePositions = min(free / bytesPerPosition, Self.unlimited)
        hostPositions = min(profile.hostMemoryBytes / bytesPerPosition, Self.unlimited)
        // One microbatch for each stage; two of them fill the devices.
        swappedPositions = max(devicePositions, min(hostPositions, devicePositions / 2 * max(stages, 2)))
    }

    private static func gigabytes(_ bytes: Int) -> String { "\((Double(bytes) / 1e8).rounded() / 10) GB" }

    package init(_ costs: PerformanceScenario.Costs, stages: Int) throws(DejaVuError) {
        guard case .profile(let profile) = costs else {
            self = Self.boundless
            return
        }
        try self.init(profile, stages: stages)
    }

    private static let boundless = MemoryBudget(boundless: unlimited)

    private init(boundless positions: Int) {
        devicePositions = positions
        swappedPositions = positions
        hostPositions = positions
    }
}
