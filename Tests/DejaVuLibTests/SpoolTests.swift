import DejaVuCore
import DejaVuLib
import Glibc
import NIOCore
import NIOPosix
import Testing

/// A listener in a directory, and a peer that has been let in.
private func withSpool(
    _ body: (_ peer: RawSpool, _ door: Door, _ directory: String) async throws -> Void
) async throws {
    let door = Door()
    let address = Place.disk.address()
    guard case .disk(let directory) = address else { return }
    let listener = try await door.listen(at: address, as: endpoint(controller()))
    try await body(try RawSpool(connectedTo: directory), door, directory)
    await listener.close()
}

@Test func spool_manySegments_areReadInOrderAndRemoved() throws {
    let place = try SpoolPlace.make("/tmp/dejavu-test-\(getpid())-\(SpoolDoor.name())")
    defer { place.leave(peerHasEnded: true) }
    var writer = SpoolWriter(SpoolPath(place, of: .near), files: PosixFileSystem())
    var reader = SpoolReader(SpoolPath(place, of: .near), files: PosixFileSystem())
    var generator = SeededGenerator(seed: 4)
    var (written, read): (Checksum, Checksum) = (Checksum(), Checksum())
    while writer.written < 5 * SpoolPath.segmentBytes {
        let bytes = ByteBuffer(
            repeating: UInt8(truncatingIfNeeded: writer.written), count: generator.next(in: 1...900_000))
        try writer.append(bytes)
        written.update(bytes)
        // Sometimes it lags behind by some segments.
        while generator.chance(0.4), reader.taken < writer.written {
            read.update(try reader.read(writer.written - reader.taken, ByteBufferAllocator()))
        }
    }
    while reader.taken < writer.written {
        read.update(try reader.read(writer.written - reader.taken, ByteBufferAllocator()))
    }
    #expect(read == written)
    let left = SpoolPlace.names(in: place.directory).filter { $0.hasPrefix("near-") }
    #expect(left.count == 1, "only what is being read: \(left)")
}

@Test func spool_segmentVanishes_readFailsAndNothingIsInvented() throws {
    let place = try SpoolPlace.make("/tmp/dejavu-test-\(getpid())-\(SpoolDoor.name())")
    defer { place.leave(peerHasEnded: true) }
    var writer = SpoolWriter(SpoolPath(place, of: .near), files: PosixFileSystem())
    try writer.append(ByteBuffer(repeating: 7, count: 1000))
    unlink("\(place.directory)/near-1")
    var reader = SpoolReader(SpoolPath(place, of: .near), files: PosixFileSystem())
    #expect(throws: IOFailure.self) { try reader.read(1000, ByteBufferAllocator()) }
}

@Test func spool_peerTellsOfBytesThatAreNotThere_isDropped() async throws {
    for ring in [1, 1 << 40, SpoolHandler.takenBit | 1, UInt64.max, 0] {
        try await withSpool { peer, door, _ in
            peer.ring(ring)
            let refusals = try await door.untilRefusals()
            #expect(refusals.count == 1, "\(ring)")
            peer.end()
        }
    }
}

@Test func spool_bothHaveEnded_nothingIsLeft() async throws {
    let door = Door()
    let address = Place.disk.address()
    guard case .disk(let directory) = address else { return }
    let listener = try await door.listen(at: address, as: endpoint(controller()))
    let inbox = Inbox()
    let link = try await connect(endpoint(worker()), to: listener, inbox: inbox)
    let (_, other) = try await door.untilLink()
    link.send(message(payload: [UInt8](repeating: 1, count: 20 << 20)))
    link.close("done")
    _ = try await other.untilClosed()
    _ = try await inbox.untilClosed()
    #expect(other.messages.count == 1)
    await listener.close()
    try await until("the directory is gone") { access(directory, F_OK) != 0 }
}

@Test func spool_listenerBegins_removesWhatADeadOneHasLeft() async throws {
    let address = Place.disk.address()
    guard case .disk(let directory) = address else { return }
    mkdir(directory, 0o700)
    let dead = try SpoolPlace.make("\(directory)/\(SpoolDoor.name())")
    var writer = SpoolWriter(SpoolPath(dead, of: .far), files: PosixFileSystem())
    try writer.append(ByteBuffer(repeating: 1, count: 10))
    let door = Door()
    let listener = try await door.listen(at: address, as: endpoint(controller()))
    #expect(access(dead.directory, F_OK) != 0)
    let link = try await connect(endpoint(worker()), to: listener)
    link.close("done")
    await listener.close()
}

@Test func spool_directoryOfOthers_isNotUsed() async throws {
    let directory = "/tmp/dejavu-test-\(getpid())-\(SpoolDoor.name())"
    mkdir(directory, 0o755)
    chmod(directory, 0o755)
    defer { rmdir(directory) }
    let error = await #expect(throws: DejaVuError.self) {
        _ = try await Door().listen(at: .disk(directory: directory), as: endpoint(controller()))
    }
    #expect(error?.code == .network)
}

@Test func spool_nobodyListens_connectFailsAtOnce() async throws {
    let error = await #expect(throws: DejaVuError.self) {
        _ = try await endpoint(worker()).connect(to: Place.disk.address(), on: loop()) { _ in { _ in } }.get()
    }
    #expect(error?.code == .network)
}
