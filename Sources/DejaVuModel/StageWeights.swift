import DejaVuCore
import DejaVuGGML
import DejaVuGGUF

/// A linear map of rows, and the seam at which its product is chosen.
struct LinearLayer {
    let weight: Tensor
    let bias: Tensor?

    func apply(_ x: Tensor, _ builder: borrowing GraphBuilder) -> Tensor {
        let product = builder.product(weight, x)
        return bias.map { builder.add(product, $0) } ?? product
    }
}

/// One transformer layer.
struct LayerWeights {
    let attentionNorm: Tensor
    let query: LinearLayer
    let key: LinearLayer
    let value: LinearLayer
    let attentionOutput: LinearLayer
    let feedForwardNorm: Tensor
    let gate: LinearLayer
    let up: LinearLayer
    let down: LinearLayer
}

/// The weights of a stage, in place in the mapped file where the backend allows it: only pages of these layers are
/// ever touched, and workers on one machine share them.
struct StageWeights {
    let layers: [LayerWeights]
    /// On the first stage.
    let embedding: Tensor?
    /// On the last stage.
    let outputNorm: Tensor?
    let output: LinearLayer?
    let rotationFactors: Tensor?
    /// Whether ggml rounds some product of one row differently than of several.
    let needsRowPairs: Bool
    private let context: TensorContext
    private let file: GGUFFile

    init(
        file: GGUFFile, model: DecoderDescription, range: LayerRange, backend: Backend
    ) throws(DejaVuError) {
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
        let products =
            layers.flatMap { [$0.query, $0.key, $0.value, $0.attentionOutput, $0.gate, $0.up, $0.down] }
            + (output.map { [$0] } ?? [])
        needsRowPairs = products.contains { $0.weight.type.roundsSingleRowsDifferently }
        context = loader.context
        self.file = file
        try loader.context.place(loader.placed, in: file.file.buffer, on: backend)
        for info in loader.infos { file.advise(.willNeed, info) }
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
