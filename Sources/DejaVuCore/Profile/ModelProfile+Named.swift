/// Profiles that come with the program.
extension ModelProfile {
    /// A small model that takes no time at all: for tests of everything but time.
    public static let instant = ModelProfile(
        name: "instant", layerCount: 12, vocabularyCount: 1000, hiddenRowBytes: 4096, kvBytesPerPositionAndLayer: 4096)

    /// All of them, and how they are called on a command line.
    public static let named = [instant, opt13B, opt66B, bloom176B]

    public static func named(_ name: String) -> ModelProfile? { named.first { $0.name == name } }

    /// OPT-13B on one machine of four V100: 40 layers, 5120 wide, 50272 tokens.
    public static let opt13B = paper(
        PaperModel(
            name: "opt-13b", layers: 40, width: 5120, vocabulary: 50_272, context: 2048,
            parametersPerLayer: 314_644_480),
        PaperMachine(
            description: "4 x V100 16 GB, PCIe 3 x16, 32 Gbit/s between machines", devices: 4,
            deviceBytes: 16_000_000_000, hostBytes: 440_000_000_000, operationsPerSecond: 125e12,
            bytesPerSecond: 900e9, copyBytesPerSecond: 12e9, linkBytesPerSecond: 4e9),
        Fit(ratio: 14, operationEfficiency: 0.6))

    /// OPT-66B on one machine of two A100, as in the authors' example of their planner: 64 layers, 9216 wide.
    public static let opt66B = paper(
        PaperModel(
            name: "opt-66b", layers: 64, width: 9216, vocabulary: 50_272, context: 2048,
            parametersPerLayer: 1_019_215_872),
        .a100(devices: 2), Fit(ratio: 28, operationEfficiency: 0.6))

    /// BLOOM-176B on one machine of four A100: 70 layers, 14336 wide.
    public static let bloom176B = paper(
        PaperModel(
            name: "bloom-176b", layers: 70, width: 14_336, vocabulary: 250_880, context: 2048,
            parametersPerLayer: 2_466_437_120),
        .a100(devices: 4), Fit(ratio: 106, operationEfficiency: 0.3))
}

private struct PaperModel {
    let name: String
    let layers: Int
    let width: Int
    let vocabulary: Int
    let context: Int
    /// Twelve times the width squared, and the biases and norms.
    let parametersPerLayer: Int
}

private struct PaperMachine {
    let description: String
    let devices: Int
    /// Of one device.
    let deviceBytes: Int
    let hostBytes: Int
    let operationsPerSecond: Double
    let bytesPerSecond: Double
    /// Of all devices together; half of PCIe's peak is given away.
    let copyBytesPerSecond: Double
    let linkBytesPerSecond: Double

    static func a100(devices: Int) -> PaperMachine {
        PaperMachine(
            description: "\(devices) x A100 80 GB, PCIe 4 x16, 40 Gbit/s between machines", devices: devices,
            deviceBytes: 80_000_000_000, hostBytes: 440_000_000_000 * devices / 2, operationsPerSecond: 312e12,
            bytesPerSecond: 2039e9, copyBytesPerSecond: 25e9, linkBytesPerSecond: 5e9)
    }
}

/// What is not published as a time: the ratio of a prompt of 1000 tokens to a step, both of 8 sequences.
private struct Fit {
    let ratio: Double
    /// Assumed; the other efficiency follows from the ratio.
    let operationEfficiency: Double
    static let sequences = 8
    static let promptTokens = 1000
}

extension ModelProfile {
    /// A roofline whose memory efficiency is chosen so that it has the published ratio.
    private static func paper(_ model: PaperModel, _ machine: PaperMachine, _ fit: Fit) -> ModelProfile {
        var profile = ModelProfile(
            name: model.name, layerCount: model.layers, vocabularyCount: model.vocabulary,
            hiddenRowBytes: model.width * 2, kvBytesPerPositionAndLayer: model.width * 4)
        profile.contextLength = model.context
        profile.weightBytesPerLayer = model.parametersPerLayer * 2
        profile.deviceMemoryBytes = machine.deviceBytes * machine.devices
        profile.hostMemoryBytes = machine.hostBytes
        profile.copyBytesPerSecond = machine.copyBytesPerSecond * Double(machine.devices)
        profile.diskBytesPerSecond = 2e9
        profile.linkBytesPerSecond = machine.linkBytesPerSecond
        profile.linkSeconds = 50e-6
        profile.byteScale = 512
        var roofline = Roofline(
            operationsPerRowAndLayer: Double(model.parametersPerLayer) * 2,
            attentionOperationsPerPositionAndLayer: Double(model.width) * 4,
            operationsPerSecond: machine.operationsPerSecond * Double(machine.devices),
            bytesPerSecond: machine.bytesPerSecond * Double(machine.devices),
            operationEfficiency: fit.operationEfficiency, layerSeconds: 20e-6)
        profile.roofline = roofline
        let prompt = profile.passSeconds(
            of: PassLoad(
                chunks: [PassLoad.Chunk](repeating: .init(first: 0, count: Fit.promptTokens), count: Fit.sequences)),
            layerCount: 1)
        let positions = Fit.sequences * Fit.promptTokens
        let bytes = Double(profile.weightBytesPerLayer + positions * profile.kvBytesPerPositionAndLayer)
        let wanted = prompt / fit.ratio - roofline.layerSeconds
        roofline.byteEfficiency = bytes / (roofline.bytesPerSecond * wanted)
        profile.roofline = roofline
        profile.source = [
            "fp16 on \(machine.description); the model's layers without its embeddings.",
            "The paper publishes no absolute times. A layer takes max(operations / (peak x operationEfficiency), "
                + "bytes / (bandwidth x byteEfficiency)) + layerSeconds, with the data sheet's peaks of all devices.",
            "operationEfficiency \(fit.operationEfficiency) and layerSeconds (kernel launches, exchanges between "
                + "devices) are assumed. byteEfficiency is chosen so that a prompt of \(Fit.promptTokens) tokens takes "
                + "\(fit.ratio) times as long as a step, both of \(Fit.sequences) sequences, as published.",
            "Copies reach about 80% of PCIe's peak on each device; disks 2 GB/s and links 50 us are assumed.",
        ]
        return profile
    }
}
