import ArgumentParser
import DejaVuBench
import DejaVuCore
import DejaVuGGUF
import DejaVuModel
import DejaVuSimulation
import Foundation

/// Measures a profile, or prints one that comes with the program.
struct ProfileCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Measure a model on this machine: what `plan` and `serve emulated:FILE` take their times from.",
        discussion: """
            Runs prompts and steps of random tokens with the real engine, and copies KV through memory, the loopback \
            link and the disk. Takes some seconds for a small model. In place of a model, opt-13b, opt-66b and \
            bloom-176b are printed: the paper's models on its machines, with what was assumed.

            EXAMPLES
              dejavu profile model.gguf -o mine.json
              dejavu serve emulated:mine.json
              dejavu profile opt-66b --json
            """)

    @Argument(help: "The GGUF file, or the name of a profile.", completion: .file(extensions: ["gguf"]))
    var model: String
    @Option(name: [.short, .customLong("output")], help: ArgumentHelp("Write the profile.", valueName: "file"))
    var output: String?
    @Option(help: "Compute threads.")
    var threads = 1
    @Option(help: "native or reference.")
    var kernels: KernelSet = .native
    @Option(help: "Each figure is the fastest of so many runs.")
    var repetitions = 3
    @Option(help: "Where the disk is measured.", completion: .directory)
    var directory = "."
    @Flag(help: "Print the profile itself.")
    var json = false

    mutating func validate() throws {
        guard (1...100).contains(repetitions) else { throw ValidationError("--repetitions must be 1 to 100") }
        guard (1...256).contains(threads) else { throw ValidationError("--threads must be 1 to 256") }
    }

    func run() throws {
        let profile = try ModelProfile.named(model) ?? measure()
        if let output { try OutputFile.write(profile.text, to: output) }
        if json {
            print(profile.text, terminator: "")
        } else if output != "-" {
            print(Self.summary(profile), terminator: "")
        }
    }

    private func measure() throws -> ModelProfile {
        let file = try GGUFFile(path: model)
        let summary = try ModelSummary(file)
        let description = try DecoderDescription(file: file)
        let line = ProgressLine()
        defer { line.clear() }
        var options = EngineProfiler.Options()
        options.threads = threads
        options.kernelSet = kernels
        options.repetitions = repetitions
        let times = try EngineProfiler.run(file: file, options) { done, count in
            line.show(Self.bar(done, of: count + 3) + " computing")
        }
        let count = times.prompts.count + times.steps.count
        var rates: [Double] = []
        for (index, place) in [StreamRates.Place.host, .disk, .tcp].enumerated() {
            line.show(Self.bar(count + index, of: count + 3) + " \(place.rawValue)")
            rates.append(try rate(place))
        }
        var profile = ModelProfile(
            name: summary.name ?? URL(filePath: model).deletingPathExtension().lastPathComponent,
            layerCount: description.layerCount, vocabularyCount: description.vocabularySize,
            hiddenRowBytes: summary.embeddingLength * MemoryLayout<Float>.size,
            kvBytesPerPositionAndLayer: description.kvBytesPerPositionAndLayer)
        profile.source = [
            "Measured by dejavu \(Version.text), \(threads) thread(s), \(kernels.rawValue) kernels, "
                + "\(Machine.coreCount) cores; the fastest of \(repetitions).",
            "Embeddings, norm and logits are spread evenly over the layers.",
            "Device and host are one memory. Copies and disk are those of DejaVuLib's stores, the link is loopback "
                + "TCP, all with checksums.",
        ]
        profile.contextLength = description.contextLength
        profile.weightBytesPerLayer = summary.layerBytes.max() ?? 0
        profile.deviceMemoryBytes = Machine.memoryBytes
        profile.copyBytesPerSecond = rates[0]
        profile.diskBytesPerSecond = rates[1]
        profile.linkBytesPerSecond = rates[2]
        profile.promptTimes = times.prompts
        profile.stepTimes = times.steps
        try profile.validate()
        return profile
    }

    /// Bytes a second through DejaVuLib.
    private func rate(_ place: StreamRates.Place) throws -> Double {
        var options = StreamBenchOptions()
        options.isQuick = true
        options.rounds = min(repetitions, 3)
        options.directory = directory
        let samples = try StreamRates.measure(place, options)
        guard let series = samples.series.first(where: { $0.name == "ours.rate" }) else {
            throw DejaVuError(.internalError, "no rate of \(place.rawValue) was measured")
        }
        return (PerformanceResult.median(series.values) * 1e9).rounded()
    }

    private static func bar(_ done: Int, of count: Int) -> String {
        let width = 24
        let full = count > 0 ? width * done / count : 0
        return "profile [" + String(repeating: "#", count: full) + String(repeating: ".", count: width - full)
            + "] \(done) of \(count)"
    }

    private static func summary(_ profile: ModelProfile) -> String {
        var lines = [
            "\(profile.name): \(profile.layerCount) layers of \(ByteSize.describe(profile.weightBytesPerLayer))"
        ]
        lines += profile.source.map { "  " + $0 }
        lines.append("")
        func row(_ name: String, _ value: String) { lines.append(PlanText.left(name, 28) + value) }
        func rate(_ value: Double) -> String { value > 0 ? "\(ByteSize.describe(Int(value)))/s" : "not known" }
        row("device memory", ByteSize.describe(profile.deviceMemoryBytes))
        row("host memory", profile.hostMemoryBytes > 0 ? ByteSize.describe(profile.hostMemoryBytes) : "the same")
        row("KV of a position", ByteSize.describe(profile.kvBytesPerPositionAndLayer * profile.layerCount))
        row(
            "copy, disk, link",
            [profile.copyBytesPerSecond, profile.diskBytesPerSecond, profile.linkBytesPerSecond].map(rate)
                .joined(separator: ", "))
        for time in profile.promptTimes {
            row("\(time.sequences) x prompt of \(time.tokens)", PlanText.seconds(time.seconds))
        }
        for time in profile.stepTimes {
            row("\(time.sequences) x step at \(time.context)", PlanText.seconds(time.seconds))
        }
        if profile.roofline != nil {
            let chunks = [PassLoad.Chunk](repeating: .init(first: 0, count: 1000), count: 8)
            let prompt = profile.passSeconds(of: PassLoad(chunks: chunks), layerCount: profile.layerCount)
            let step = profile.passSeconds(
                of: PassLoad(stepCount: 8, stepPositions: 8000), layerCount: profile.layerCount)
            row("8 x prompt of 1000", PlanText.seconds(prompt))
            row(
                "8 x step at 1000",
                PlanText.seconds(step) + ": a prompt takes \(PlanText.number(prompt / step)) of them")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
