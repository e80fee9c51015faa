public import DejaVuControl
public import DejaVuCore
public import DejaVuLib

// The wire form of what a worker says of itself all the time.

extension WorkerHeartbeat: WireValue {
    public static let wireBytesMin = 27
    public func write(to writer: inout ByteWriter) {
        writer.write(progress)
        writer.write(loading)
        writer.write(busy)
        writer.write(rewriteMismatches)
        writer.write(emulation != nil)
        if let emulation { writer.write(emulation) }
        writer.write(swap != nil)
        if let swap { writer.write(swap) }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            progress: try reader.read(), loading: try reader.read(), busy: try reader.readBool(),
            rewriteMismatches: try reader.read(),
            emulation: try reader.readOptional(), swap: try reader.readOptional())
    }
}

extension EmulationUsage: WireValue {
    public static let wireBytesMin = 5 * 8
    /// More than any run has, and far from where sums overflow.
    private static let countMax = 1 << 48
    public func write(to writer: inout ByteWriter) {
        writer.write(passes)
        writer.write(latePasses)
        writer.write(emulated)
        writer.write(processor)
        writer.write(rewriteMismatches)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init()
        passes = try reader.readInt(max: Self.countMax)
        latePasses = try reader.readInt(max: Self.countMax)
        emulated = try TimeSpan(from: &reader)
        processor = try TimeSpan(from: &reader)
        rewriteMismatches = try reader.readInt(max: Self.countMax)
        guard emulated >= .zero, processor >= .zero, emulated < .seconds(1 << 28), processor < .seconds(1 << 28) else {
            throw DejaVuError(.network, "malformed message: an emulation's times")
        }
    }
}

extension SwapUsage: WireValue {
    public static let wireBytesMin = 5 * 8
    public func write(to writer: inout ByteWriter) {
        writer.write(fetches)
        writer.write(bytesIn)
        writer.write(bytesOut)
        writer.write(fetching)
        writer.write(waited)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init()
        fetches = try reader.readInt(max: 1 << 48)
        bytesIn = try reader.readInt(max: 1 << 58)
        bytesOut = try reader.readInt(max: 1 << 58)
        fetching = try TimeSpan(from: &reader)
        waited = try TimeSpan(from: &reader)
        guard fetching >= .zero, waited >= .zero, fetching < .seconds(1 << 28), waited < .seconds(1 << 28) else {
            throw DejaVuError(.network, "malformed message: what a worker has swapped")
        }
    }
}
