public import DejaVuCore
import DejaVuKV
import Synchronization

/// Stores that peers may use, by name. One server may be reached over any number of connections of any kind.
public final class StoreServer: Sendable {
    private let stores: Mutex<[String: any KVStore]>
    /// Bounds the rows that have been read for peers and are not sent yet.
    let reading: StagingPool
    /// How long a read waits for its share of that.
    let readingTime: TimeSpan

    /// - Parameters:
    ///   - stores: each under a name of at most 200 bytes.
    ///   - readBytesMax: bytes read for peers and not sent yet, over all connections.
    public init(
        _ stores: [String: any KVStore], readBytesMax: Int = 256 << 20, readingTime: TimeSpan = .seconds(30)
    ) {
        precondition(
            stores.keys.allSatisfy { $0.utf8.count <= PeerMessage.nameBytesMax }, "a store's name is too long")
        self.stores = Mutex(stores)
        self.readingTime = readingTime
        reading = StagingPool(bytesMax: readBytesMax)
    }

    /// Offers a store from now on.
    ///
    /// - Precondition: the name has at most 200 bytes and is not in use.
    public func offer(_ store: any KVStore, as name: String) {
        precondition(name.utf8.count <= PeerMessage.nameBytesMax, "a store's name is too long")
        let former = stores.withLock { $0.updateValue(store, forKey: name) }
        precondition(former == nil, "two stores are offered as \(name)")
    }

    /// Offers it no more. Frames that it has begun to take are its own affair.
    public func withdraw(_ name: String) { stores.withLock { _ = $0.removeValue(forKey: name) } }

    func store(named name: String) throws(DejaVuError) -> any KVStore {
        guard let store = stores.withLock({ $0[name] }) else {
            throw DejaVuError(.notFound, "there is no store '\(printable(name, bytesMax: PeerMessage.nameBytesMax))'")
        }
        return store
    }
}

/// What came of a peer's call.
enum CallOutcome: Sendable {
    case answer(PeerAnswer)
    case rows(Staging, StreamPriority)
}

extension StoreServer {
    static func outcome(
        of call: PeerCall, store name: String, _ server: StoreServer?
    ) async -> Result<CallOutcome, DejaVuError> {
        guard let server else { return .failure(DejaVuError(.notFound, "this process offers no stores")) }
        do throws(DejaVuError) {
            return .success(try await server.answer(call, by: server.store(named: name)))
        } catch {
            return .failure(error)
        }
    }

    private func answer(_ call: PeerCall, by store: any KVStore) async throws(DejaVuError) -> CallOutcome {
        switch call {
        case .describe:
            return .answer(
                .description(layers: store.layers, rowBytes: store.rowBytes, numericClass: store.numericClass))
        case .open(let ticket, let tokens):
            try await store.open(ticket, tokens: tokens)
            return .answer(.done)
        case .renew(let ticket):
            try await store.renew(ticket)
            return .answer(.done)
        case .watermark(let sequence, let layers):
            return .answer(.number(try await store.watermark(of: sequence, layers: layers)))
        case .release(let sequence):
            try await store.release(sequence)
            return .answer(.done)
        case .read(let span, let priority):
            let (bytes, overflow) = span.rowCount.multipliedReportingOverflow(by: store.rowBytes)
            guard !overflow else { throw DejaVuError(.invalidArgument, "a span of that size cannot be read") }
            let staging = try await reading.take(bytes, priority: priority, within: readingTime)
            do throws(DejaVuError) {
                var rows = staging.detach()
                try await store.read(span, into: &rows)
                staging.replace(with: rows)
            } catch {
                staging.release()
                throw error
            }
            return .rows(staging, priority)
        }
    }
}
