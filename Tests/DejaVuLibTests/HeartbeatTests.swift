import DejaVuCore
import DejaVuLib
import Glibc
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// What a listener and a sender have reported.
private final class Record: Sendable {
    let opened = Atomic<Int>(0)
    let beats = Atomic<Int>(0)
    let ended = Atomic<Int>(0)
    let contents = Mutex<[UInt8]>([])

    func note(_ peer: LinkIdentity, _ event: HeartbeatListener.Event) {
        switch event {
        case .opened: opened.wrappingAdd(1, ordering: .relaxed)
        case .beat(let content):
            contents.withLock { $0.append(content.getInteger(at: content.readerIndex) ?? 0) }
            beats.wrappingAdd(1, ordering: .releasing)
        case .ended: ended.wrappingAdd(1, ordering: .relaxed)
        }
    }
}

private func listen(_ record: Record, at address: LinkAddress) async throws -> HeartbeatListener {
    try await HeartbeatListener.listen(
        at: address, as: endpoint(controller()), report: { record.note($0, $1) },
        refused: { Issue.record("refused: \($0)") })
}

private func sender(to address: LinkAddress, every: TimeSpan = .milliseconds(5)) -> HeartbeatSender {
    let count = Mutex<UInt8>(0)
    let beat: @Sendable () -> ByteBuffer = {
        count.withLock { count in
            count &+= 1
            return ByteBuffer(bytes: [count])
        }
    }
    return HeartbeatSender(to: address, as: endpoint(worker()), every: every, content: beat, report: { _ in })
}

@Test func heart_allOtherLoopsAreBusy_goesOnBeating() async throws {
    let record = Record()
    let listener = try await listen(record, at: .tcp(host: "127.0.0.1", port: 0))
    let heart = sender(to: listener.address)
    heart.start()
    try await until("the first beat") { record.beats.load(ordering: .acquiring) > 0 }
    // Every event loop of the process stands still until there were beats in the meantime.
    let isFree = Atomic<Bool>(false)
    let group = MultiThreadedEventLoopGroup.singleton
    await withCheckedContinuation { continuation in
        for loop in group.makeIterator() {
            loop.execute { while !isFree.load(ordering: .acquiring) { usleep(1000) } }
        }
        let before = record.beats.load(ordering: .acquiring)
        var thread = pthread_t()
        let wait = Unmanaged.passRetained(
            Waiting {
                while record.beats.load(ordering: .acquiring) < before + 10 { usleep(1000) }
            } done: {
                isFree.store(true, ordering: .releasing)
                continuation.resume()
            })
        pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Waiting>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, wait.toOpaque())
        pthread_detach(thread)
    }
    let contents = record.contents.withLock { $0 }
    #expect(zip(contents, contents.dropFirst()).allSatisfy { $0 &+ 1 == $1 }, "every beat, in order: \(contents)")
    await heart.stop("the test is over")
    try await until("the end") { record.ended.load(ordering: .relaxed) == 1 }
    await listener.close()
}

private final class Waiting: Sendable {
    private let wait: @Sendable () -> Void
    private let done: @Sendable () -> Void
    init(_ wait: @escaping @Sendable () -> Void, done: @escaping @Sendable () -> Void) {
        self.wait = wait
        self.done = done
    }
    func run() {
        wait()
        done()
    }
}

@Test func heart_listenerComesBack_isFoundAgain() async throws {
    let record = Record()
    let address = Place.unix.address()
    let first = try await listen(record, at: address)
    let heart = sender(to: address)
    heart.start()
    try await until("beats") { record.beats.load(ordering: .acquiring) > 3 }
    await first.close()
    let before = record.beats.load(ordering: .acquiring)
    let second = try await listen(record, at: address)
    try await until("beats again") { record.beats.load(ordering: .acquiring) > before + 3 }
    #expect(record.opened.load(ordering: .relaxed) == 2)
    await heart.stop("the test is over")
    await second.close()
}

@Test func heart_somethingElseIsSaid_linkIsClosed() async throws {
    let record = Record()
    let listener = try await listen(record, at: .tcp(host: "127.0.0.1", port: 0))
    let peer = try RawPeer(connectedTo: listener.address)
    try peer.shakeHands(as: worker(), key: key)
    peer.say(message(99))
    _ = try peer.hearToTheEnd()
    try await until("the end") { record.ended.load(ordering: .relaxed) == 1 }
    #expect(record.beats.load(ordering: .relaxed) == 0)
    await listener.close()
}
