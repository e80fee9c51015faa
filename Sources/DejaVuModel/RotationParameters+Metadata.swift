import DejaVuCore
import DejaVuGGML
import Foundation

extension RotationParameters {
    /// Reads `rope.*`: base, linear and YaRN scaling. What the file says holds for every position, whatever the
    /// current length is: a position's K never changes.
    init(
        _ fields: MetadataFields, family: DecoderFamily, headSize: Int, contextLength: Int
    ) throws(DejaVuError) {
        let dimensions = try fields.integer("rope.dimension_count", 2...headSize, default: headSize)
        guard dimensions % 2 == 0 else { throw fields.invalid("rope.dimension_count", "\(dimensions) is odd") }
        self.init(
            dimensions: dimensions, pairsHalves: family.rotatesHalves,
            base: try fields.number("rope.freq_base", 1...1e12, default: 10_000),
            originalContext: try fields.integer(
                "rope.scaling.original_context_length", 1...(1 << 24), default: contextLength))
        // Files from before August 2023 have the old key.
        let factorKey = fields.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear"
        let factor = try fields.number(factorKey, 0...1e6, default: 0)
        let scaling = try fields.text("rope.scaling.type", default: "linear")
        switch scaling {
        case "none": break
        case "linear": frequencyScale = factor == 0 ? 1 : 1 / factor
        case "yarn":
            frequencyScale = factor == 0 ? 1 : 1 / factor
            extrapolation = try fields.number("rope.scaling.yarn_ext_factor", -1...100, default: 1)
            if extrapolation < 0 { extrapolation = 1 }
            betaFast = try fields.number("rope.scaling.yarn_beta_fast", 0...1e6, default: 32)
            betaSlow = try fields.number("rope.scaling.yarn_beta_slow", 0...1e6, default: 1)
        default:
            throw fields.unsupported("rope.scaling.type", "\(String(scaling.prefix(60))) is not computed")
        }
        magnitude = try fields.number("rope.scaling.attn_factor", 1e-3...1e3, default: 1)
        if extrapolation != 0 {
            // ggml multiplies by YaRN's magnitude 1 + 0.1 ln(factor) itself. Written as a division so that the bits
            // are those of llama.cpp, which divides the same out and multiplies it in.
            let factor = 1 / frequencyScale
            let wanted = factor <= 1 ? 1 : 0.1 * logf(factor) + 1
            magnitude *= wanted * (1 / (1 + 0.1 * logf(factor)))
        }
    }
}
