import DejaVuCore
import DejaVuKV
import DejaVuLib
import Foundation

/// The process that lives: it keeps the replica, kills the generator in mid-sentence, and goes on from what it has.
enum Keeper {
    /// - Returns: whether the text is that of a run in which nobody was killed.
    static func run() async throws -> Bool {
        let socket = FileManager.default.temporaryDirectory.appending(path: "kvstreaming-\(getpid()).sock").path
        let key = ClusterKey.random()
        let theirs = Incarnation(UInt64.random(in: 1 ... .max))

        // The replica: empty, with a place for the sequence and a ticket for the generator.
        let store = try Generation.makeStore("replica")
        try await store.open(Generation.ticket(7, for: theirs), tokens: [])

        let ended = AsyncStream.makeStream(of: LinkEnd.self)
        let endpoint = LinkEndpoint(key: key) {
            LinkIdentity(
                role: .worker, name: "keeper", incarnation: Incarnation(UInt64(getpid())),
                numericClass: MadeUpModel.numericClass)
        }
        let listener = try await LinkTransport.listen(
            at: .unix(path: socket), as: endpoint, serving: StoreServer(["replica": store]),
            opened: { transport in transport.whenEnded { ended.continuation.yield($0) } },
            refused: { say("keeper", "refused a peer: \($0.message)") })
        say("keeper", "I am process \(getpid()). I keep a replica, and it is empty.")

        let generator = try start(socket: socket, key: key, incarnation: theirs)
        try await untilHalf(of: store, generator)
        say("keeper", "My replica holds half of it. kill -9 \(generator.processIdentifier)")
        kill(generator.processIdentifier, SIGKILL)
        for await end in ended.stream {
            say("keeper", "The generator is gone: \(end.error.message).")
            break
        }
        await listener.close()
        return try await takeOver(store)
    }

    private static func start(socket: String, key: ClusterKey, incarnation: Incarnation) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["generate", socket, String(incarnation.rawValue)]
        // Not as an argument: those can be read by every user of the machine.
        process.environment = ["KVSTREAMING_KEY": key.bytes.map { String($0) }.joined(separator: " ")]
        try process.run()
        return process
    }

    private static func untilHalf(of store: HostStore, _ generator: Process) async throws {
        for _ in 0..<3000 {
            let watermark = try await store.watermark(of: Generation.sequence, layers: MadeUpModel.layers)
            if watermark >= Generation.positionCount / 2 { return }
            guard generator.isRunning else { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw DejaVuError(.unavailable, "the generator did not fill the replica")
    }

    private static func takeOver(_ store: HostStore) async throws -> Bool {
        // The replica is the cache now. A new ticket: the dead one's is worth nothing any more.
        let ticket = Generation.ticket(8, for: Incarnation(UInt64(getpid())))
        try await store.renew(ticket)
        let generation = Generation(store: store, ticket: ticket, tokens: TokenBook())
        let rescued = try await generation.known()
        say("keeper", "I hold \(try await generation.watermark) positions of \(MadeUpModel.layers.count) layers.")
        say("keeper", "From these rows alone I read: \(MadeUpModel.text(rescued))")
        say("keeper", "And on it goes:")
        try await generation.run { word, _ in say("keeper", MadeUpModel.text([word])) }
        let text = try await generation.known()
        say("keeper", "The whole text: \(MadeUpModel.text(text))")

        let other = Generation(
            store: try Generation.makeStore("undisturbed"), ticket: Generation.ticket(1, for: Incarnation(1)),
            tokens: TokenBook())
        try await other.store.open(other.ticket, tokens: [])
        try await other.run { _, _ in }
        let same = try await other.known() == text
        say("keeper", same ? "A run without a kill gives the same text." : "A run without a kill gives ANOTHER text.")
        return same
    }
}
