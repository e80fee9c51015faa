package import DejaVuCore

/// What a model file holds, computed from metadata and tensor directory alone. `dejavu inspect` prints it.
package struct ModelSummary: Codable, Hashable, Sendable {
    /// The tensors of one type.
    package struct TypeShare: Codable, Hashable, Sendable {
        /// For instance `Q4_1`.
        package let type: String
        package let tensors: Int
        package let parameters: Int
        package let bytes: Int
    }

    /// As the author calls it.
    package let name: String?
    package let architecture: String
    package let layers: Int
    package let embeddingLength: Int
    package let feedForwardLength: Int?
    /// Query heads; the most that a layer has, where they differ. The same holds for `kvHeads`.
    package let heads: Int
    package let kvHeads: Int
    /// The length of a key of one head.
    package let headSize: Int
    /// The length of a value of one head.
    package let valueHeadSize: Int
    package let contextLength: Int
    package let vocabularySize: Int
    package let parameters: Int
    /// By bytes, the largest first.
    package let quantization: [TypeShare]
    package let fileBytes: Int
    /// The weights of each layer, in order.
    package let layerBytes: [Int]
    package let embeddingBytes: Int
    /// The final norm and the output matrix. A model without a matrix of its own uses the embeddings' again.
    package let outputBytes: Int
    package let outputIsTied: Bool
    /// Tensors that belong to none of the above.
    package let otherBytes: Int
    /// Keys and values of one position in all layers, as F16.
    package let kvBytesPerPosition: Int

    /// More layers than any known model has; bounds what a hostile file can make us allocate.
    private static let layerCountMax = 4096
    private static let sizeMax = 1 << 24

    /// Reads the summary. Missing or absurd values are errors that name them.
    package init(_ file: GGUFFile) throws(DejaVuError) {
        architecture = try file.require("general.architecture")
        let reader = Reader(file: file, prefix: architecture + ".")
        name = try file.get("general.name")
        layers = try reader.size("block_count", max: Self.layerCountMax)
        embeddingLength = try reader.size("embedding_length", max: Self.sizeMax)
        feedForwardLength = try reader.perLayer("feed_forward_length", layers: layers, max: Self.sizeMax)?.max()
        contextLength = try reader.size("context_length", max: 1 << 31)
        let queryHeads = try reader.perLayer("attention.head_count", layers: layers, max: 65_536)
        guard let queryHeads, let heads = queryHeads.max(), heads > 0 else {
            throw reader.missing("attention.head_count")
        }
        self.heads = heads
        let cachedHeads = try reader.perLayer("attention.head_count_kv", layers: layers, max: 65_536) ?? queryHeads
        kvHeads = cachedHeads.max() ?? heads
        let derived = embeddingLength / heads
        headSize = try reader.optionalSize("attention.key_length", max: 65_536) ?? derived
        valueHeadSize = try reader.optionalSize("attention.value_length", max: 65_536) ?? derived
        let rowBytes = (headSize + valueHeadSize) * 2
        kvBytesPerPosition = cachedHeads.reduce(0) { $0 + $1 * rowBytes }
        let tokens = try file.get("tokenizer.ggml.tokens", as: MetadataArray.self)?.count
        vocabularySize = try reader.optionalSize("vocab_size", max: 1 << 31) ?? tokens ?? 0

        fileBytes = file.byteCount
        parameters = file.tensors.reduce(0) { $0 + $1.elementCount }
        quantization = Self.shares(of: file.tensors)
        var layerBytes = [Int](repeating: 0, count: layers)
        var (embedding, output, other) = (0, 0, 0)
        for tensor in file.tensors {
            if let layer = Self.layer(of: tensor.name), layer < layers {
                layerBytes[layer] += tensor.byteCount
            } else if tensor.name.hasPrefix("token_embd") {
                embedding += tensor.byteCount
            } else if tensor.name.hasPrefix("output") {
                output += tensor.byteCount
            } else {
                other += tensor.byteCount
            }
        }
        self.layerBytes = layerBytes
        embeddingBytes = embedding
        outputBytes = output
        otherBytes = other
        outputIsTied = file.tensor("output.weight") == nil
    }

    /// The layer that a tensor named `blk.N.…` belongs to.
    package static func layer(of name: String) -> Int? {
        guard name.hasPrefix("blk.") else { return nil }
        let rest = name.dropFirst(4)
        guard let dot = rest.firstIndex(of: ".") else { return nil }
        let digits = rest[..<dot]
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int(digits)
    }

    private static func shares(of tensors: [TensorInfo]) -> [TypeShare] {
        TensorType.allCases.compactMap { type -> TypeShare? in
            let ofType = tensors.filter { $0.type == type }
            guard !ofType.isEmpty else { return nil }
            return TypeShare(
                type: type.name, tensors: ofType.count, parameters: ofType.reduce(0) { $0 + $1.elementCount },
                bytes: ofType.reduce(0) { $0 + $1.byteCount })
        }.sorted { ($1.bytes, $0.type) < ($0.bytes, $1.type) }
    }
}

/// Reads the architecture's own sizes, with limits.
private struct Reader {
    let file: GGUFFile
    let prefix: String

    func missing(_ key: String) -> DejaVuError {
        DejaVuError(.invalidFile, "metadata '\(prefix)\(key)' is missing or 0", subject: "metadata '\(prefix)\(key)'")
    }

    func optionalSize(_ key: String, max: Int) throws(DejaVuError) -> Int? {
        guard let value = try file.get(prefix + key, as: Int.self) else { return nil }
        try check(value, key, 1...max)
        return value
    }

    func size(_ key: String, max: Int) throws(DejaVuError) -> Int {
        guard let value = try optionalSize(key, max: max) else { throw missing(key) }
        return value
    }

    /// A size that is one number for all layers or an array with one for each. Layers without attention have 0 there.
    func perLayer(_ key: String, layers: Int, max: Int) throws(DejaVuError) -> [Int]? {
        guard let value = file.value(prefix + key) else { return nil }
        guard case .array(let array) = value else {
            return [Int](repeating: try size(key, max: max), count: layers)
        }
        guard array.count == layers else {
            throw DejaVuError(
                .invalidFile, "metadata '\(prefix)\(key)' has \(array.count) elements for \(layers) layers",
                subject: "metadata '\(prefix)\(key)'")
        }
        let values = try array.integers()
        for value in values { try check(value, key, 0...max) }
        return values
    }

    private func check(_ value: Int, _ key: String, _ allowed: ClosedRange<Int>) throws(DejaVuError) {
        guard allowed.contains(value) else {
            throw DejaVuError(
                .invalidFile,
                "metadata '\(prefix)\(key)' is \(value); wanted \(allowed.lowerBound) to \(allowed.upperBound)",
                subject: "metadata '\(prefix)\(key)'")
        }
    }
}
