package import DejaVuCore
import DejaVuKV
import DejaVuLib
import Glibc

/// How fast bytes go from a device's memory to another place, checksums included, against the bare way.
package enum StreamRates {
    package enum Place: String, CaseIterable, Sendable { case host, tcp, disk }

    /// 32 layers of 8 KB each position: 1 GB, or 128 MB.
    package static func measure(_ place: Place, _ options: StreamBenchOptions) throws(DejaVuError) -> StreamSamples {
        let shape = try StreamShape.ggml("rows of 8 KB", layers: 32, heads: 16, headSize: 128, batch: 1)
        let device = try BenchDevice(shape, length: options.isQuick ? 512 : 4096, profile: nil)
        var samples = StreamSamples("rate-\(place.rawValue)")
        samples.settings = [
            "bytes": "\(device.layout.totalBytes)", "checksum": Checksum.implementation,
            "chunk_bytes": "\(BareTransfers.chunkBytes)",
        ]
        let ours = try Ours(device, place, options)
        defer { ours.end() }
        let bare = try Bare(device, place, options)
        defer { bare.end() }
        try options.interleave(["ours", "bare"]) { (side, counts) throws(DejaVuError) in
            let before = BenchClock.processTime
            let time = side == "ours" ? try ours.run() : try bare.run()
            let processor = BenchClock.processTime - before
            guard counts else { return }
            let gigabytes = Double(device.layout.totalBytes) / 1e9
            samples.add(gigabytes / time.seconds, to: "\(side).rate")
            samples.add(processor.seconds / gigabytes, to: "\(side).processor")
        }
        return samples
    }
}

/// The library's way: one call of `scatter`.
private final class Ours {
    private let device: BenchDevice
    private let store: any KVStore
    private let disk: BenchDisk?
    private let peer: TCPPeer?
    /// One for all rounds, as a process has it: its buffers are warm, like the bare way's.
    private let streamer = Streamer()
    private var number: UInt64 = 0

    init(_ device: BenchDevice, _ place: StreamRates.Place, _ options: StreamBenchOptions) throws(DejaVuError) {
        self.device = device
        disk = place == .disk ? try BenchDisk(device, sequences: 1, in: options.directory) : nil
        if let disk {
            store = disk.store
            peer = nil
        } else {
            let host = try StreamAblation.hostStore(device, sequences: 1)
            peer = place == .tcp ? try TCPPeer(host) : nil
            store = peer?.store ?? host
        }
    }

    func end() {
        peer?.close()
        disk?.remove()
    }

    func run() throws(DejaVuError) -> TimeSpan {
        number += 1
        let sequence = SequenceID(number)
        let (device, store, length) = (device, store, device.length)
        device.open(sequence, slot: 0)
        defer { device.close(sequence) }
        device.commit([sequence], layers: device.layers, to: length)
        let ticket = Ticket(
            number: number, sequence: sequence, layers: device.layers, positionLimit: length, writer: Incarnation(1))
        let streamer = streamer
        defer { streamer.tokens.release(sequence) }
        try streamer.tokens.append((0..<length).map { TokenID($0 % 1000) }, of: sequence)
        return try blocking { () throws(DejaVuError) in
            try await store.open(ticket, tokens: [])
            let from = BenchClock.now
            let mark = try await streamer.scatter(
                Span(sequence: sequence, layers: device.layers, positions: 0..<length), from: device,
                to: StreamTarget(store, ticket: ticket), within: .seconds(Int64(120)))
            if let disk = store as? DiskStore { try await disk.sync() }
            let time = BenchClock.now - from
            guard mark == length else { throw DejaVuError(.internalError, "\(mark) of \(length) arrived") }
            for position in [0, length / 2, length - 1] {
                let span = Span(sequence: sequence, layers: device.layers, positions: position..<position + 1)
                let (here, there) = (try await device.read(span), try await store.read(span))
                guard here == there else { throw DejaVuError(.internalError, "\(span) arrived with other bytes") }
            }
            try await store.release(sequence)
            return time
        }
    }
}

/// The same bytes, from the same memory.
private final class Bare {
    private let device: BenchDevice
    private let place: StreamRates.Place
    private let target: UnsafeMutableRawBufferPointer
    private let socket: BareSocket?
    private let path: String

    init(_ device: BenchDevice, _ place: StreamRates.Place, _ options: StreamBenchOptions) throws(DejaVuError) {
        self.device = device
        self.place = place
        socket = place == .tcp ? try BareSocket() : nil
        path = "\(options.directory)/dejavu-bare-\(getpid())"
        let count = place == .disk ? 1 : device.layout.totalBytes
        target = .allocate(byteCount: count, alignment: 4096)
        // Touched once, as the library's memory is.
        target.initializeMemory(as: UInt8.self, repeating: 1)
    }

    func end() { target.deallocate() }

    func run() throws(DejaVuError) -> TimeSpan {
        var descriptor: Int32 = -1
        if place == .disk {
            descriptor = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw DejaVuError(.unavailable, "cannot write \(path)", subject: path) }
        }
        defer {
            if descriptor >= 0 {
                close(descriptor)
                unlink(path)
            }
        }
        let from = BenchClock.now
        var offset = 0
        if let socket {
            try socket.transfer(to: target, checks: true) { piece in
                for region in device.memory { BareTransfers.forEachChunk(region) { chunk, _ in piece(chunk) } }
            }
            return BenchClock.now - from
        }
        var checksum: UInt32 = 0
        for region in device.memory {
            switch place {
            case .host:
                checksum ^= BareTransfers.memory(
                    region, to: UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + region.count]))
            case .disk: checksum ^= try BareTransfers.disk(region, to: descriptor, at: offset)
            case .tcp: break
            }
            offset += region.count
        }
        if place == .disk, fdatasync(descriptor) != 0 {
            throw DejaVuError(.unavailable, "\(path) cannot be made durable", subject: path)
        }
        withExtendedLifetime(checksum) {}
        return BenchClock.now - from
    }
}
