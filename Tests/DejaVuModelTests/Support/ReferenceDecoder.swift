import DejaVuGGUF
import Foundation

/// A slow, readable decoder in plain Swift for F32 files: what the engine's graphs are held against, and what shows how
/// far a mistake moves the logits.
struct ReferenceDecoder {
    /// Ways to be wrong on purpose.
    struct Mistakes {
        var rotationBaseFactor: Float = 1
        var hasMask = true
        var hasNorm = true
        /// K and V stay unrounded in F32.
        var roundsCells = true
    }

    let file: GGUFFile
    let layers, heads, keyHeads, size, embedding: Int
    let base: Float
    var mistakes = Mistakes()

    init(file: GGUFFile) throws {
        self.file = file
        layers = try file.require("llama.block_count")
        heads = try file.require("llama.attention.head_count")
        keyHeads = try file.require("llama.attention.head_count_kv")
        size = try file.require("llama.attention.key_length")
        embedding = try file.require("llama.embedding_length")
        base = try file.require("llama.rope.freq_base")
    }

    /// The logits after the last of some tokens.
    func logits(_ tokens: [Int32]) -> [Float] {
        var rows = tokens.map { token in
            Array(tensor("token_embd.weight")[Int(token) * embedding..<(Int(token) + 1) * embedding])
        }
        for layer in 0..<layers {
            let prefix = "blk.\(layer)."
            let normed = rows.map { norm($0, prefix + "attn_norm.weight") }
            let keys = normed.enumerated().map { rounded(rotated(product(prefix + "attn_k", $1), at: $0)) }
            let values = normed.map { rounded(product(prefix + "attn_v", $0)) }
            for (position, x) in normed.enumerated() {
                let query = rotated(product(prefix + "attn_q", x), at: position)
                let seen = mistakes.hasMask ? position + 1 : tokens.count
                let attended = attention(query, keys.prefix(seen), values.prefix(seen))
                rows[position] = sum(rows[position], product(prefix + "attn_output", attended))
            }
            for (position, x) in rows.enumerated() {
                let inner = norm(x, prefix + "ffn_norm.weight")
                let gate = product(prefix + "ffn_gate", inner)
                let up = product(prefix + "ffn_up", inner)
                let gated = zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 }
                rows[position] = sum(x, product(prefix + "ffn_down", gated))
            }
        }
        let last = norm(rows[rows.count - 1], "output_norm.weight")
        return product(file.tensor("output.weight") == nil ? "token_embd" : "output", last)
    }

    private func tensor(_ name: String) -> UnsafeBufferPointer<Float> {
        guard let info = file.tensor(name) else { preconditionFailure("no tensor \(name)") }
        return file.bytes(of: info).bindMemory(to: Float.self)
    }

    private func product(_ name: String, _ x: [Float]) -> [Float] {
        let weights = tensor(name + ".weight")
        var result = (0..<weights.count / x.count).map { row in
            var sum = 0.0
            for column in x.indices { sum += Double(weights[row * x.count + column]) * Double(x[column]) }
            return Float(sum)
        }
        if file.tensor(name + ".bias") != nil { result = sum(result, Array(tensor(name + ".bias"))) }
        return result
    }

    private func sum(_ a: [Float], _ b: [Float]) -> [Float] { zip(a, b).map { $0 + $1 } }

    private func norm(_ x: [Float], _ name: String) -> [Float] {
        let weights = tensor(name)
        let meanSquare = x.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(x.count)
        let scale = mistakes.hasNorm ? Float(1 / (meanSquare + 1e-5).squareRoot()) : 1
        return x.indices.map { x[$0] * scale * weights[$0] }
    }

    /// Pairs (2i, 2i + 1) turned by position * base^(-2i / size).
    private func rotated(_ x: [Float], at position: Int) -> [Float] {
        var result = x
        for head in 0..<x.count / size {
            for pair in 0..<size / 2 {
                let exponent = -2 * Double(pair) / Double(size)
                var frequency = pow(Double(base * mistakes.rotationBaseFactor), exponent)
                if file.tensor("rope_freqs.weight") != nil { frequency /= Double(tensor("rope_freqs.weight")[pair]) }
                let angle = Double(position) * frequency
                let index = head * size + 2 * pair
                let (a, b) = (Double(x[index]), Double(x[index + 1]))
                result[index] = Float(a * cos(angle) - b * sin(angle))
                result[index + 1] = Float(a * sin(angle) + b * cos(angle))
            }
        }
        return result
    }

    private func attention(_ query: [Float], _ keys: ArraySlice<[Float]>, _ values: ArraySlice<[Float]>) -> [Float] {
        var result = [Float](repeating: 0, count: query.count)
        for head in 0..<heads {
            let own = head / (heads / keyHeads) * size
            let scores = keys.map { key in
                (0..<size).reduce(0.0) { $0 + Double(query[head * size + $1]) * Double(key[own + $1]) }
                    / Double(size).squareRoot()
            }
            let greatest = scores.max() ?? 0
            let weights = scores.map { exp($0 - greatest) }
            let total = weights.reduce(0, +)
            for index in 0..<size {
                var sum = 0.0
                for (weight, value) in zip(weights, values) { sum += weight / total * Double(value[own + index]) }
                result[head * size + index] = Float(sum)
            }
        }
        return result
    }

    /// To F16 and back.
    private func rounded(_ x: [Float]) -> [Float] { mistakes.roundsCells ? x.map { Float(Float16($0)) } : x }
}
