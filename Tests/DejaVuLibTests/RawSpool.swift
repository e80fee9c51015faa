import DejaVuCore
import DejaVuLib
import Glibc
import NIOCore

/// An end of a spool with blocking calls.
struct RawSpool {
    let heard: Int32
    let place: SpoolPlace
    private let rung: Int32
    private var outgoing: SpoolWriter
    private var incoming: SpoolReader
    private var available = 0

    init(connectedTo directory: String) throws {
        let door = try SpoolPlace.open(SpoolDoor.door(of: directory), O_WRONLY)
        defer { close(door) }
        let name = SpoolDoor.name()
        place = try SpoolPlace.make("\(directory)/\(name)")
        (heard, rung) = try place.open()
        outgoing = SpoolWriter(SpoolPath(place, of: .near), files: PosixFileSystem())
        incoming = SpoolReader(SpoolPath(place, of: .far), files: PosixFileSystem())
        let line = Array("\(name)\n".utf8)
        guard write(door, line, line.count) == line.count else { throw DejaVuError(.network, "nobody listens") }
        for _ in 0..<5000 {
            var byte: UInt8 = 0
            if read(heard, &byte, 1) == 1 { return }
            usleep(2000)
        }
        throw DejaVuError(.deadlineExceeded, "nobody opens")
    }

    /// Ends as a killed process does: its files stay.
    func end() {
        close(rung)
    }

    mutating func say(_ bytes: [UInt8]) {
        guard !bytes.isEmpty, (try? outgoing.append(ByteBuffer(bytes: bytes))) != nil else { return }
        ring(UInt64(outgoing.written))
    }

    func ring(_ count: UInt64) {
        withUnsafeBytes(of: count.littleEndian) { _ = write(rung, $0.baseAddress, $0.count) }
    }

    /// The next bytes; nil when the other side has hung up.
    mutating func hear() throws -> ByteBuffer? {
        while incoming.taken == available {
            var poll = pollfd(fd: heard, events: Int16(POLLIN), revents: 0)
            guard Glibc.poll(&poll, 1, 10_000) > 0 else {
                throw DejaVuError(.deadlineExceeded, "the other side says nothing")
            }
            var count: UInt64 = 0
            guard read(heard, &count, 8) == 8 else { return nil }
            count = UInt64(littleEndian: count)
            if count & SpoolHandler.takenBit == 0 { available = Int(count) }
        }
        let bytes = try incoming.read(available - incoming.taken, ByteBufferAllocator())
        ring(UInt64(incoming.taken) | SpoolHandler.takenBit)
        return bytes
    }
}
