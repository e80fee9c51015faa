/// What an emulated model computes: a chain of hashes in which every KV row of every layer matters.
///
/// The hidden value of a position enters layer 0 as a hash of its token. In each layer the KV row of a position is
/// `hash(layer input, layer, position)`, and the layer's output is `hash(layer input, all rows of the layer up to the
/// position)`. The output of the last layer is the next token. One lost, stale or misplaced row anywhere changes the
/// text from there on. Layers chain one by one, so the text does not depend on how they are cut into stages, and no ids
/// go into the hashes, so that runs can be compared.
public enum EmulatedChain {
    /// What enters layer 0 for a token.
    @inlinable public static func embedding(of token: TokenID) -> UInt64 {
        mix64(UInt64(UInt32(bitPattern: token)) &+ 0x5851_F42D_4C95_7F2D)
    }

    /// The KV row that a layer writes for a position.
    @inlinable public static func row(input: UInt64, layer: Int, position: Int) -> UInt64 {
        mix64(input ^ mix64(UInt64(layer) &<< 32 ^ UInt64(position) &+ 0x1405_7B7E_F767_814F))
    }

    /// What one row adds to the attention of the positions at and after it. Contributions are summed with wrap-around,
    /// so that a reader may take the rows in any order.
    @inlinable public static func contribution(of row: UInt64, at position: Int) -> UInt64 {
        mix64(row &+ UInt64(position) &* 0x9E37_79B9_7F4A_7C15)
    }

    /// A layer's output for a position.
    ///
    /// - Parameter attended: the sum of the contributions of the layer's rows `0...position`.
    @inlinable public static func output(input: UInt64, attended: UInt64) -> UInt64 {
        mix64(input &* 3 &+ attended)
    }

    /// The token that follows the last layer's output: a function of (output, seed, position) as real sampling is of
    /// (logits, history, seed, position). Greedy sampling ignores the seed.
    ///
    /// - Parameter position: the index that the new token takes.
    public static func token(
        output: UInt64, sampling: SamplingParameters, position: Int, vocabularyCount: Int
    ) -> TokenID {
        precondition(vocabularyCount > 0 && vocabularyCount <= Int(Int32.max), "a vocabulary has tokens")
        let draw =
            sampling.temperature == 0
            ? output : mix64(output ^ mix64(sampling.seed &+ UInt64(position) &* 0xD134_2543_DE82_EF95))
        return TokenID(draw.multipliedFullWidth(by: UInt64(vocabularyCount)).high)
    }

    /// The text that a run without batching, stages or failures gives: the outputs that follow a prompt, up to and
    /// including the first stop token.
    public static func continuation(
        of prompt: [TokenID], count: Int, layerCount: Int, vocabularyCount: Int, sampling: SamplingParameters,
        stopTokens: [TokenID] = []
    ) -> [TokenID] {
        var attended = [UInt64](repeating: 0, count: layerCount)
        var outputs: [TokenID] = []
        var position = 0
        while outputs.count < count {
            let token = position < prompt.count ? prompt[position] : outputs[position - prompt.count]
            var value = embedding(of: token)
            for layer in 0..<layerCount {
                let row = row(input: value, layer: layer, position: position)
                attended[layer] &+= contribution(of: row, at: position)
                value = output(input: value, attended: attended[layer])
            }
            position += 1
            guard position >= prompt.count else { continue }
            let next = Self.token(
                output: value, sampling: sampling, position: position, vocabularyCount: vocabularyCount)
            outputs.append(next)
            if stopTokens.contains(next) { break }
        }
        return outputs
    }
}
