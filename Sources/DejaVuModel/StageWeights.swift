import DejaVuCore
import DejaVuGGML
import DejaVuGGUF

/// One transformer layer.
struct LayerWeights {
    let attentionNorm: Tensor
    var query: LinearLayer
    var key: LinearLayer
    var value: LinearLayer
    var attentionOutput: LinearLayer
    let feedForwardNorm: Tensor
    var gate: LinearLayer
    var up: LinearLayer
    var down: LinearLayer

    static var products: [WritableKeyPath<LayerWeights, LinearLayer>] {
        [
            \.query, \.key, \.value, \.attentionOutput, \.gate, \.up, \.down,
        ]
    }
}

/// The weights of a stage, in place in the mapped file where the backend allows it: only pages of these layers are
/// ever touched, and workers on one machine share them.
struct StageWeights {
    private(set) var layers: [LayerWeights]
    /// On the first stage.
    let embedding: Tensor?
    /// On the last stage.
    let outputNorm: Tensor?
    private(set) var output: LinearLayer?
    let rotationFactors: Tensor?
    /// Whether ggml rounds some product of one row differently than of several.
    private(set) var needsRowPairs = false
    private let context: TensorContext
    private let file: GGUFFile

    init(
        file: GGUFFile, model: DecoderDescription, options: StageEngineOptions, backend: Backend
    ) throws(DejaVuError) {
        let range = options.layers
        let layout = TensorLayout(file: file, model: model)
        try layout.checkAll()
        var loader = WeightLoader(
            layout: layout, context: TensorContext(tensorCount: (range.count + 1) * LayerTensor.allCases.count + 8))
        var layers: [LayerWeights] = []
        for index in range.indices { layers.append(try loader.layer(index)) }
        let isFirst = range.first == 0
        let isLast = range.end == model.layerCount
        let matrixShape = [model.embeddingSize, model.vocabularySize]
        let embedding: Tensor? =
            isFirst || (isLast && model.tiesOutput)
            ? try loader.add(layout.matrix(DecoderDescription.embeddingName, matrixShape)) : nil
        self.embedding = embedding
        if isLast {
            outputNorm = try loader.add(layout.vector(DecoderDescription.outputNormName, model.embeddingSize))
            let matrix =
                try model.tiesOutput
                ? embedding : loader.add(layout.matrix(DecoderDescription.outputName, matrixShape))
            output = matrix.map { LinearLayer(weight: $0, bias: nil) }
        } else {
            outputNorm = nil
            output = nil
        }
        rotationFactors =
            model.hasRotationFactors
            ? try loader.add(layout.vector(DecoderDescription.rotationFactorsName, model.rotation.dimensions / 2))
            : nil
        self.layers = layers
        context = loader.context
        self.file = file
        try loader.context.place(loader.placed, in: file.file.buffer, on: backend)
        if options.kernelSet == .native { pack(options) }
        let products = layers.flatMap { layer in LayerWeights.products.map { layer[keyPath: $0] } }
        needsRowPairs = (products + (output.map { [$0] } ?? [])).contains {
            $0.packed == nil && $0.weight.type.roundsSingleRowsDifferently
        }
        // Of the file, packed matrices are not read again, but for single rows of the embeddings.
        let packed = Set((products + (output.map { [$0] } ?? [])).filter { $0.packed != nil }.map(\.weight.name))
        for info in loader.infos where !packed.contains(info.name) { file.advise(.willNeed, info) }
    }

    /// Packs every product that our kernels can compute; the others stay with ggml.
    private mutating func pack(_ options: StageEngineOptions) {
        var sections: [PackedSection] = []
        for (index, layer) in zip(options.layers.indices, layers) {
            let products = LayerWeights.products.map { layer[keyPath: $0] }
            if let section = section(index, products) { sections.append(section) }
        }
        if let output, let section = section(nil, [output]) { sections.append(section) }
        var packer = WeightPacker(cache: cache(options))
        packer.progress = options.progress
        packer.notice = options.notice
        let file = self.file
        let matrices = packer.pack(sections) { name, use in
            guard let info = file.tensor(name) else { preconditionFailure("no tensor \(name) to pack") }
            file.advise(.willNeed, info)
            use(file.bytes(of: info))
            file.advise(.dontNeed, info)
        }
        for index in layers.indices {
            for product in LayerWeights.products {
                layers[index][keyPath: product].packed = matrices[layers[index][keyPath: product].weight.name]
            }
        }
        if var layer = output {
            layer.packed = matrices[layer.weight.name]
            output = layer
        }
    }

    /// Where packed weights are shared; nil if they are not to be, or cannot be.
    private func cache(_ options: StageEngineOptions) -> WeightCache? {
        guard let root = options.weightCache else { return nil }
        do throws(DejaVuError) { return try WeightCache(root: root, model: file.modelID) } catch {
            options.notice(
                StageNotice(
                    level: .warning, message: "packed weights are not shared: \(error.message); packing privately"))
            return nil
        }
    }

    private func section(_ layer: Int?, _ products: [LinearLayer]) -> PackedSection? {
        let matrices = products.map(\.weight).filter {
            PackedMatrix.canPack($0.type, rows: $0.rows, columns: $0.rowLength)
        }
        guard !matrices.isEmpty else { return nil }
        return PackedSection(
            model: file.modelID, layer: layer,
            matrices: matrices.map { (name: $0.name, type: $0.type, rows: $0.rows, columns: $0.rowLength) })
    }
}

/// Collects the tensors that a stage needs and where they lie in the file.
private struct WeightLoader {
    let layout: TensorLayout
    let context: TensorContext
    private(set) var placed: [(tensor: Tensor, offset: Int)] = []
    private(set) var infos: [TensorInfo] = []

    init(layout: TensorLayout, context: TensorContext) {
        self.layout = layout
        self.context = context
    }

    mutating func add(_ info: TensorInfo) -> Tensor {
        guard let type = ElementType(rawValue: info.type.rawValue) else {
            preconditionFailure("the type of \(info.name) was checked before")
        }
        let tensor = context.tensor(type, info.dimensions, name: info.name)
        precondition(tensor.byteCount == info.byteCount, "\(info.name) has another size in ggml")
        placed.append((tensor, info.offset))
        infos.append(info)
        return tensor
    }

    mutating func layer(_ index: Int) throws(DejaVuError) -> LayerWeights {
        LayerWeights(
            attentionNorm: add(try layout.layer(.attentionNorm, index)),
            query: try linear(.query, .queryBias, index),
            key: try linear(.key, .keyBias, index),
            value: try linear(.value, .valueBias, index),
            attentionOutput: try linear(.attentionOutput, .attentionOutputBias, index),
            feedForwardNorm: add(try layout.layer(.feedForwardNorm, index)),
            gate: try linear(.gate, .gateBias, index),
            up: try linear(.up, .upBias, index),
            down: try linear(.down, .downBias, index))
    }

    private mutating func linear(
        _ weight: LayerTensor, _ bias: LayerTensor, _ index: Int
    ) throws(DejaVuError) -> LinearLayer {
        let hasBias =
            layout.model.family.optionalTensors.contains(bias) && layout.file.tensor(bias.name(layer: index)) != nil
        return LinearLayer(
            weight: add(try layout.layer(weight, index)), bias: hasBias ? add(try layout.layer(bias, index)) : nil)
    }
}
