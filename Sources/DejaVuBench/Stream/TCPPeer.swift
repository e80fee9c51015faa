import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import NIOPosix

/// A store that is reached over real TCP through the loopback interface; each end has a thread of its own.
final class TCPPeer {
    let store: PeerStore
    private let listener: LinkListener
    private let group: MultiThreadedEventLoopGroup

    init(_ host: any KVStore) throws(DejaVuError) {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        self.group = group
        let key = ClusterKey.random()
        let near = LinkEndpoint(key: key) {
            LinkIdentity(role: .worker, name: "near", incarnation: Incarnation(1))
        }
        let far = LinkEndpoint(key: key) { LinkIdentity(role: .worker, name: "far", incarnation: Incarnation(2)) }
        (store, listener) = try blocking { () throws(DejaVuError) in
            let listener = try await LinkTransport.listen(
                at: .tcp(host: "127.0.0.1", port: 0), as: far, serving: StoreServer(["host": host]), on: group.next(),
                refused: { _ in })
            let transport = try await LinkTransport.connect(to: listener.address, as: near, on: group.next())
            let store = try await PeerStore.named(
                "host", over: transport, priority: .replica, within: .seconds(Int64(300)))
            return (store, listener)
        }
    }

    func close() {
        store.transport.close("the benchmark is over")
        let (listener, group) = (listener, group)
        Task.detached {
            await listener.close()
            try? await group.shutdownGracefully()
        }
    }
}
