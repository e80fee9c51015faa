import DejaVuCore
import DejaVuKV
import DejaVuLib
import Foundation

/// The process that dies: it generates, and a subscription keeps its replica up to date.
enum Generator {
    static func run(connectingTo address: LinkAddress, key: ClusterKey, as incarnation: Incarnation) async throws {
        let endpoint = LinkEndpoint(key: key) {
            LinkIdentity(
                role: .worker, name: "generator", incarnation: incarnation, numericClass: MadeUpModel.numericClass)
        }
        let transport = try await LinkTransport.connect(to: address, as: endpoint)
        let replica = try await PeerStore.named(
            "replica", over: transport, priority: .replica, within: .seconds(5))

        let generation = Generation(
            store: try Generation.makeStore("cache"), ticket: Generation.ticket(1, for: incarnation),
            tokens: TokenBook())
        try await generation.store.open(generation.ticket, tokens: [])

        // The standing order: whatever the cache has, the replica is to have too.
        let engine = StreamEngine(source: generation.store, streamer: Streamer(tokens: generation.tokens)) {
            say("generator", "streaming: \($0)")
        }
        let order = Subscription(
            id: SubscriptionID(1), destination: StoreID(1), layers: MadeUpModel.layers, priority: .replica)
        let subscription = try engine.subscribe(order, to: replica)
        // The keeper has opened the sequence with this very ticket.
        try engine.grant(Generation.ticket(7, for: incarnation), by: StoreID(1))

        say("generator", "I am process \(getpid()). My text begins: \(MadeUpModel.text(MadeUpModel.prompt))")
        let streaming = Task { await engine.run() }
        try await generation.run { word, watermark in
            engine.doorbell.note(Generation.sequence, layers: MadeUpModel.layers, watermark: watermark)
            engine.doorbell.ring()
            if watermark >= MadeUpModel.prompt.count {
                say("generator", "\(MadeUpModel.text([word]))  (replica lacks \(subscription.backlog.positions))")
            }
            // A real model is slower than this one.
            try await Task.sleep(for: .milliseconds(20))
        }
        try await subscription.caughtUp(within: .seconds(5))
        streaming.cancel()
        await streaming.value
    }
}
