public import DejaVuCore
import DejaVuKV
public import DejaVuLib

// The wire form of what the core and KV modules define. Whatever their initializers require is checked first: a peer
// must not be able to stop this process.

/// Positions, counts and sizes that a peer may name.
private let countMax = 1 << 40

extension Term: WireValue {
    public static let wireBytesMin = 16
    public func write(to writer: inout ByteWriter) {
        writer.write(number)
        writer.write(nonce)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(number: try reader.read(), nonce: try reader.read())
    }
}

extension CellRun: WireValue {
    public static let wireBytesMin = 16
    public func write(to writer: inout ByteWriter) {
        writer.write(start)
        writer.write(count)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(start: try reader.readInt(max: countMax), count: try reader.readInt(max: countMax))
    }
}

extension PassEntry: WireValue {
    public static let wireBytesMin = 8 + 8 + 4 + 4 + 1
    public func write(to writer: inout ByteWriter) {
        writer.write(sequence)
        writer.write(first)
        writer.write(tokens)
        writer.write(samples)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let sequence = try reader.read(SequenceID.self)
        let first = try reader.readInt(max: countMax)
        let tokens = try reader.readTokens()
        guard !tokens.isEmpty else { throw DejaVuError(.network, "malformed message: an entry without tokens") }
        self.init(sequence: sequence, first: first, tokens: tokens, samples: try reader.readBool())
    }
}

extension Pass: WireValue {
    public static let wireBytesMin = 28
    public func write(to writer: inout ByteWriter) {
        writer.write(id)
        writer.write(pipeline)
        writer.write(epoch)
        writer.write(entries)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            id: try reader.read(), pipeline: try reader.read(), epoch: try reader.read(),
            entries: try reader.readArray())
        guard Set(entries.map(\.sequence)).count == entries.count else {
            throw DejaVuError(.network, "malformed message: a sequence appears twice in a pass")
        }
    }
}

extension TokenWeight: WireValue {
    public static let wireBytesMin = 8
    public func write(to writer: inout ByteWriter) {
        writer.write(token)
        writer.write(weight)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(token: try reader.read(), weight: try reader.readFloat())
    }
}

extension SampledToken: WireValue {
    public static let wireBytesMin = 8 + 8 + 4 + 1 + 4
    public func write(to writer: inout ByteWriter) {
        writer.write(sequence)
        writer.write(position)
        writer.write(token)
        writer.write(logprob != nil)
        if let logprob { writer.write(logprob) }
        writer.write(alternatives)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let sequence = try reader.read(SequenceID.self)
        let position = try reader.readInt(max: countMax)
        let token = try reader.read(TokenID.self)
        let logprob = try reader.readBool() ? try reader.readFloat() : nil
        self.init(
            sequence: sequence, position: position, token: token, logprob: logprob,
            alternatives: try reader.readArray())
    }
}

extension SamplingParameters: WireValue {
    public static let wireBytesMin = 7 * 4 + 4 + 2 * 8 + 8 + 4 + 1
    public func write(to writer: inout ByteWriter) {
        writer.write(temperature)
        writer.write(topK)
        writer.write(topP)
        writer.write(minP)
        writer.write(typicalP)
        writer.write(repetitionPenalty)
        writer.write(presencePenalty)
        writer.write(frequencyPenalty)
        writer.write(repetitionWindow)
        writer.write(logitBias)
        writer.write(seed)
        writer.write(topLogprobs != nil)
        if let topLogprobs { writer.write(topLogprobs) }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init()
        temperature = try reader.readFloat()
        topK = try reader.readInt(max: countMax)
        topP = try reader.readFloat()
        minP = try reader.readFloat()
        typicalP = try reader.readFloat()
        repetitionPenalty = try reader.readFloat()
        presencePenalty = try reader.readFloat()
        frequencyPenalty = try reader.readFloat()
        repetitionWindow = try reader.readInt(max: countMax)
        logitBias = try reader.readArray()
        seed = try reader.read()
        topLogprobs = try reader.readBool() ? try reader.readInt(max: countMax) : nil
    }
}

extension SequenceRecord: WireValue {
    public static let wireBytesMin = 3 * 8 + 3 * 4 + 8 + SamplingParameters.wireBytesMin + 8 + 4
    public func write(to writer: inout ByteWriter) {
        writer.write(id)
        writer.write(request)
        writer.write(choice)
        writer.write(prompt)
        writer.write(outputs)
        writer.write(sampling)
        writer.write(outputCountMax)
        writer.write(stopTokens)
        writer.write(choiceCount)
        writer.write(origin)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let id = try reader.read(SequenceID.self)
        let request = try reader.read(RequestID.self)
        let choice = try reader.readInt(max: countMax)
        let prompt = try reader.readTokens()
        let outputs = try reader.readTokens()
        let sampling = try SamplingParameters(from: &reader)
        let outputCountMax = try reader.readInt(max: countMax)
        let stopTokens = try reader.readTokens()
        let choiceCount = try reader.readInt(max: countMax)
        let origin = try reader.readBytes()
        guard !prompt.isEmpty, outputCountMax >= 1 else {
            throw DejaVuError(.network, "malformed message: a record without a prompt or an output")
        }
        guard origin.count <= Self.originBytesMax else {
            throw DejaVuError(.network, "malformed message: a record with an origin of \(origin.count) bytes")
        }
        self.init(
            id: id, request: request, choice: choice, prompt: prompt, outputs: outputs, sampling: sampling,
            outputCountMax: outputCountMax, stopTokens: stopTokens, choiceCount: choiceCount, origin: origin)
    }
}

extension TimeSpan: WireValue {
    public static let wireBytesMin = 8
    public func write(to writer: inout ByteWriter) { writer.write(nanoseconds) }
    public init(from reader: inout ByteReader) throws(DejaVuError) { self.init(nanoseconds: try reader.read()) }
}
