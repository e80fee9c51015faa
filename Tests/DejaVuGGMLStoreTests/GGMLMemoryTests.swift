import DejaVuCore
import DejaVuGGML
import DejaVuGGMLStore
import DejaVuKV
import DejaVuLib
import Glibc
import NIOCore
import Synchronization
import Testing

private let layers = LayerRange(2, 6)
private let cellCount = 512

private struct Cells {
    let memory: GGMLMemory
    let layout: KVLayout

    init(_ backend: Backend, lock: BackendLock? = nil) throws {
        let context = TensorContext(tensorCount: 2 * layers.count + 1)
        let keys = layers.indices.map { context.tensor(.f16, [24, cellCount + 1], name: "k\($0)") }
        let values = layers.indices.map { context.tensor(.f16, [24, cellCount + 1], name: "v\($0)") }
        try context.allocate(on: backend, zeroed: true)
        let row = try KVRow(headCount: 3, headSize: 8, elementBytes: 2)
        layout = try GGMLMemory.layout(keys: keys, values: values, row: row, layers: layers)
        memory = GGMLMemory(keys: keys, values: values, owner: context, lock: lock)
    }
}

/// Rows land, come back, and lie where attention looks for them.
private func check(_ cells: Cells) async throws {
    let store = try DeviceStore(
        name: "ggml", layout: cells.layout, memory: cells.memory, numericClass: NumericClass(parts: ["test"]))
    for number in 1...2 {
        let ticket = Ticket(
            number: UInt64(number), sequence: SequenceID(UInt64(number)), layers: layers, positionLimit: 200,
            writer: Incarnation(1))
        try await store.open(ticket, tokens: [])
        for start in [0, 1, 60, 61, 150] {
            let end = start == 0 ? 1 : start == 1 ? 60 : start == 60 ? 61 : start == 61 ? 150 : 200
            try await land(store, ticket, start..<end)
        }
        let span = Span(sequence: ticket.sequence, layers: layers, positions: 13..<177)
        let read = try await store.read(span)
        let expected = packed(span)
        #expect(read == expected)
        // Position 20 of layer 4: K in region 4, V in region 5, in the sequence's cells.
        let single = Span(sequence: ticket.sequence, layers: LayerRange(4, 5), positions: 20..<21)
        let row = Array(packed(single).readableBytesView)
        let offset = ((number - 1) * 256 + 20) * 48
        let keys = try bytes(cells.memory, region: 4, offset: offset)
        let values = try bytes(cells.memory, region: 5, offset: offset)
        let found = keys + values
        #expect(found == row)
    }
    store.checkIntegrity()
}

private func land(_ store: DeviceStore, _ ticket: Ticket, _ positions: Range<Int>) async throws {
    let span = Span(sequence: ticket.sequence, layers: layers, positions: positions)
    let payload = packed(span)
    var tokens: [TokenID] = []
    for position in 0..<positions.upperBound { tokens.append(TokenID(position)) }
    let header = FrameHeader(
        ticket: ticket.number, writer: ticket.writer, span: span, tokens: Array(tokens[positions]),
        tokensHash: TokenChain(tokens).hash, numericClass: store.numericClass, payloadBytes: payload.readableBytes)
    guard case .land(let landing) = try await store.begin(header) else {
        throw DejaVuError(.internalError, "not admitted")
    }
    try await landing.write(payload)
    let watermark = try await landing.finish(checksum: Checksum.of(payload))
    #expect(watermark == positions.upperBound)
}

/// Rows that can be told from one another.
private func packed(_ span: Span) -> ByteBuffer {
    var buffer = ByteBuffer()
    for layer in span.layers.indices {
        for position in span.positions {
            let seed = span.sequence.rawValue &* 1_000_003 &+ UInt64(layer * 1000 + position)
            for word in 0..<12 { buffer.writeInteger(mix64(seed &* 16 &+ UInt64(word))) }
        }
    }
    return buffer
}

private func bytes(_ memory: GGMLMemory, region: Int, offset: Int) throws -> [UInt8] {
    let target = UnsafeMutableRawBufferPointer.allocate(byteCount: 48, alignment: 16)
    defer { target.deallocate() }
    try memory.flush(region: region, offset: offset, into: target)
    return Array(target)
}

@Test func ggmlMemory_onTheCPU_holdsRows() async throws {
    try await check(try Cells(try Backend()))
}

@Test func ggmlMemory_otherShapes_throw() throws {
    let backend = try Backend()
    let context = TensorContext(tensorCount: 4)
    let keys = [context.tensor(.f16, [24, 9])]
    let values = [context.tensor(.f16, [16, 9])]
    try context.allocate(on: backend, zeroed: false)
    let row = try KVRow(headCount: 3, headSize: 8, elementBytes: 2)
    #expect(throws: DejaVuError.self) {
        try GGMLMemory.layout(keys: keys, values: values, row: row, layers: LayerRange(0, 1))
    }
    #expect(throws: DejaVuError.self) {
        try GGMLMemory.layout(keys: keys, values: keys, row: row, layers: LayerRange(0, 2))
    }
}

/// The server's memory is another process's as far as this one can tell: all goes through a socket.
@Test(.enabled(if: RemoteDevices.isAvailable, "ggml was built without RPC"))
func ggmlMemory_onARemoteDevice_holdsRows() async throws {
    let endpoint = "127.0.0.1:\(20_000 + Int(getpid()) % 20_000)"
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(Endpoint(endpoint))
    pthread_create(&thread, nil, { serve($0) }, argument.toOpaque())
    var names: [String] = []
    for _ in 0..<200 where names.isEmpty {
        names = (try? RemoteDevices.add(endpoint)) ?? []
        if names.isEmpty { try await Task.sleep(for: .milliseconds(50)) }
    }
    let name = try #require(names.first)
    let backend = try Backend(name: name)
    #expect(!backend.isHost)
    try await check(try Cells(backend, lock: BackendLock()))
}

private func serve(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let endpoint = Unmanaged<Endpoint>.fromOpaque(argument).takeRetainedValue()
    try? RemoteDevices.serve(endpoint.address, threadCount: 1)
    return nil
}

private final class Endpoint: Sendable {
    let address: String
    init(_ address: String) { self.address = address }
}
