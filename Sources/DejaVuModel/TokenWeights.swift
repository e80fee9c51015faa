import DejaVuCore

/// How likely each token is beside the most likely one, e^((logit - greatest) / temperature): the whole vocabulary at
/// once, for it is read for every token that is not chosen greedily.
///
/// Made of additions and multiplications in a fixed order, so that every machine gets the same bits.
struct TokenWeights {
    /// Tokens that share a sum.
    private static let block = 256

    private var weights: [Float] = []
    /// Of each block.
    private var sums: [Double] = []
    private(set) var total = 0.0

    init() {}

    /// - Parameters:
    ///   - greatest: of the logits, which are finite.
    ///   - inverse: of the temperature.
    mutating func set(_ logits: UnsafeBufferPointer<Float>, greatest: Float, inverse: Float) {
        if weights.count != logits.count { weights = [Float](repeating: 0, count: logits.count) }
        sums.removeAll(keepingCapacity: true)
        weights.withUnsafeMutableBufferPointer { weights in
            for first in stride(from: 0, to: logits.count, by: Self.block) {
                let end = min(first + Self.block, logits.count)
                sums.append(Self.fill(weights, logits, first..<end, greatest, inverse))
            }
        }
        total = sums.reduce(0, +)
    }

    /// - Returns: the sum of the block.
    private static func fill(
        _ weights: UnsafeMutableBufferPointer<Float>, _ logits: UnsafeBufferPointer<Float>, _ block: Range<Int>,
        _ greatest: Float, _ inverse: Float
    ) -> Double {
        let from = UnsafeRawBufferPointer(logits)
        let to = UnsafeMutableRawBufferPointer(weights)
        var sum = SIMD16<Float>.zero
        var index = block.lowerBound
        while index + 16 <= block.upperBound {
            let logit = from.loadUnaligned(fromByteOffset: 4 * index, as: SIMD16<Float>.self)
            let weight = exponential((logit - greatest) * inverse)
            to.storeBytes(of: weight, toByteOffset: 4 * index, as: SIMD16<Float>.self)
            sum += weight
            index += 16
        }
        var rest = 0.0
        while index < block.upperBound {
            weights[index] = exponential(SIMD16(repeating: (logits[index] - greatest) * inverse))[0]
            rest += Double(weights[index])
            index += 1
        }
        return Double(sum.sum()) + rest
    }

    /// The token at which the running sum by id passes `unit` of the whole.
    func draw(_ unit: Double) -> TokenID {
        var left = total * unit
        var block = 0
        while block + 1 < sums.count, sums[block] <= left {
            left -= sums[block]
            block += 1
        }
        let first = block * Self.block
        var best = first
        for index in first..<min(first + Self.block, weights.count) {
            left -= Double(weights[index])
            if left < 0 { return TokenID(index) }
            if weights[index] > weights[best] { best = index }
        }
        // What rounding leaves over must not fall to a token that nobody wants.
        return TokenID(best)
    }

    /// Adds all tokens that have at least that weight, by rising id.
    ///
    /// - Returns: their sum.
    func collect(atLeast least: Float, of logits: [Float], into candidates: inout [Candidate]) -> Double {
        var sum = 0.0
        weights.withUnsafeBufferPointer { weights in
            let bytes = UnsafeRawBufferPointer(weights)
            func add(_ range: Range<Int>) {
                for index in range where weights[index] >= least {
                    let weight = Double(weights[index])
                    candidates.append(Candidate(token: TokenID(index), logit: logits[index], weight: weight))
                    sum += weight
                }
            }
            let whole = weights.count / 16 * 16
            for index in stride(from: 0, to: whole, by: 16) {
                let some = bytes.loadUnaligned(fromByteOffset: 4 * index, as: SIMD16<Float>.self)
                if largest(some) >= least { add(index..<index + 16) }
            }
            add(whole..<weights.count)
        }
        return sum
    }
}

/// e^x to about 2e-7 of itself, for x up to 0; what is below -87 counts as -87.
///
/// 2^n e^r with the nearest whole n; ln 2 in two parts (Cody and Waite 1980), a Taylor polynomial for |r| <= 0.35.
private func exponential(_ x: SIMD16<Float>) -> SIMD16<Float> {
    let x = x.replacing(with: -87, where: x .< -87)
    // Adding 1.5 * 2^23 rounds to a whole number, which is then in the lowest bits.
    let shifter = SIMD16<Float>(repeating: 12_582_912)
    let shifted = x * 1.442_695_04 + shifter
    let whole = shifted - shifter
    let r = (x - whole * 0.693_359_375) + whole * 2.121_944_4e-4
    var sum = r * (1.0 / 720) + 1.0 / 120
    sum = sum * r + 1.0 / 24
    sum = sum * r + 1.0 / 6
    sum = sum * r + 0.5
    sum = sum * r + 1
    sum = sum * r + 1
    let power = unsafeBitCast(shifted, to: SIMD16<Int32>.self) &<< 23 &+ 0x3F80_0000
    return sum * unsafeBitCast(power, to: SIMD16<Float>.self)
}
