import DejaVuCore
import DejaVuGGML
import DejaVuGGUF

/// Finds a model's tensors in its file and checks that they are what the description needs.
struct TensorLayout {
    let file: GGUFFile
    let model: DecoderDescription

    /// A matrix of any weight type.
    func matrix(_ name: String, _ shape: [Int]) throws(DejaVuError) -> TensorInfo {
        let info = try tensor(name, shape)
        guard let type = ElementType(rawValue: info.type.rawValue), type.isWeight else {
            throw DejaVuError(
                .unsupported, "\(name): weights of type \(info.type.name) are not computed", subject: name)
        }
        return info
    }

    /// A vector of F32.
    func vector(_ name: String, _ count: Int) throws(DejaVuError) -> TensorInfo {
        let info = try tensor(name, [count])
        guard info.type == .f32 else {
            throw DejaVuError(
                .unsupported, "\(name): is of type \(info.type.name); only F32 vectors are computed", subject: name)
        }
        return info
    }

    func layer(_ tensor: LayerTensor, _ layer: Int) throws(DejaVuError) -> TensorInfo {
        let shape = tensor.shape(in: model)
        let name = tensor.name(layer: layer)
        return tensor.isMatrix ? try matrix(name, shape) : try vector(name, shape[0])
    }

    /// Checks every tensor of the model, so that each worker refuses a bad file, whatever its layers.
    func checkAll() throws(DejaVuError) {
        _ = try matrix(DecoderDescription.embeddingName, [model.embeddingSize, model.vocabularySize])
        _ = try vector(DecoderDescription.outputNormName, model.embeddingSize)
        if !model.tiesOutput {
            _ = try matrix(DecoderDescription.outputName, [model.embeddingSize, model.vocabularySize])
        }
        if model.hasRotationFactors {
            _ = try vector(DecoderDescription.rotationFactorsName, model.rotation.dimensions / 2)
        }
        for index in 0..<model.layerCount {
            for required in model.family.requiredTensors { _ = try layer(required, index) }
            for optional in model.family.optionalTensors where file.tensor(optional.name(layer: index)) != nil {
                _ = try layer(optional, index)
            }
        }
    }

    private func tensor(_ name: String, _ shape: [Int]) throws(DejaVuError) -> TensorInfo {
        guard let info = file.tensor(name) else {
            throw DejaVuError(.invalidFile, "the tensor \(name) is missing", subject: name)
        }
        guard info.dimensions == shape else {
            throw DejaVuError(
                .invalidFile, "\(name): has the shape \(info.dimensions); the metadata asks for \(shape)",
                subject: name)
        }
        return info
    }
}
