/// A small seeded generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014). Same seed, same numbers, on every
/// platform and compiler; the standard library promises that for no generator of its own.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64
    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return mix64(state)
    }

    /// A number in `0 ..< bound`, without bias that matters (Lemire's multiply-shift).
    public mutating func next(below bound: Int) -> Int {
        precondition(bound > 0, "an empty range has no element")
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    public mutating func next(in range: ClosedRange<Int>) -> Int {
        range.lowerBound + next(below: range.upperBound - range.lowerBound + 1)
    }

    /// A number in `0 ..< 1` with 53 random bits.
    public mutating func nextUnit() -> Double { unitInterval(next()) }

    public mutating func chance(_ probability: Double) -> Bool { nextUnit() < probability }
}

/// SplitMix64's finalizer: a bijection of 64 bits whose every output bit depends on every input bit.
@inlinable public func mix64(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
}

/// The upper 53 bits as a number in `0 ..< 1`.
@inlinable public func unitInterval(_ bits: UInt64) -> Double { Double(bits >> 11) * 0x1p-53 }

/// A random number in `0 ..< 1` that depends on a seed and a position alone: sampling position `p` again, on any
/// worker, draws the same number.
public func counterBasedUnit(seed: UInt64, position: Int) -> Double {
    unitInterval(mix64(mix64(seed &+ 0x9E37_79B9_7F4A_7C15) ^ mix64(UInt64(bitPattern: Int64(position)) &+ 1)))
}
