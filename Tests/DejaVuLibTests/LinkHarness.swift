import DejaVuCore
import DejaVuLib
import Glibc
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// What one end of a link has heard, for a test to wait on. The waits have a deadline: a test fails, it never hangs.
final class Inbox: Sendable {
    private let state = Mutex<(events: [LinkEvent], waiters: [CheckedContinuation<Void, Never>])>(([], []))

    var receiver: Link.Receiver {
        { event in
            let waiters = self.state.withLock { state in
                state.events.append(event)
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.resume() }
        }
    }

    var messages: [LinkMessage] {
        state.withLock { $0.events }.compactMap { if case .message(let message) = $0 { message } else { nil } }
    }
    var end: LinkEnd? {
        state.withLock { $0.events }.compactMap { if case .closed(let end) = $0 { end } else { nil } }.first
    }
    var writability: [Bool] {
        state.withLock { $0.events }.compactMap { if case .writable(let yes) = $0 { yes } else { nil } }
    }

    /// Polls: what a test waits for happens on event loops, soon.
    func wait(_ what: String, until condition: @Sendable (Inbox) -> Bool) async throws {
        for _ in 0..<2000 {
            if condition(self) { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw DejaVuError(.deadlineExceeded, "waited in vain for \(what)")
    }

    func untilClosed() async throws -> LinkEnd {
        try await wait("the end") { $0.end != nil }
        guard let end else { throw DejaVuError(.internalError, "no end") }
        return end
    }
}

/// A listener with everything that came of it.
final class Door: Sendable {
    private let state = Mutex<(links: [(Link, Inbox)], refusals: [DejaVuError])>(([], []))
    var links: [(Link, Inbox)] { state.withLock { $0.links } }
    var refusals: [DejaVuError] { state.withLock { $0.refusals } }

    func listen(at address: LinkAddress, as endpoint: LinkEndpoint) async throws -> LinkListener {
        try await LinkListener.listen(at: address, as: endpoint, on: loop()) { link in
            let inbox = Inbox()
            self.state.withLock { $0.links.append((link, inbox)) }
            return inbox.receiver
        } refused: { error in
            self.state.withLock { $0.refusals.append(error) }
        }
    }

    func untilLink() async throws -> (Link, Inbox) {
        for _ in 0..<2000 {
            if let first = links.first { return first }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw DejaVuError(.deadlineExceeded, "nobody came")
    }

    func untilRefusals(_ count: Int = 1) async throws -> [DejaVuError] {
        for _ in 0..<2000 {
            if refusals.count >= count { return refusals }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw DejaVuError(.deadlineExceeded, "only \(refusals.count) of \(count) were refused")
    }
}

func loop() -> any EventLoop { MultiThreadedEventLoopGroup.singleton.next() }

enum Place: String, CaseIterable, Sendable {
    case unix, tcp, disk
    func address() -> LinkAddress {
        switch self {
        case .tcp: return .tcp(host: "127.0.0.1", port: 0)
        case .unix: return .unix(path: "/tmp/dejavu-test-\(getpid())-\(UInt64.random(in: 0 ... .max)).sock")
        case .disk: return .disk(directory: "/tmp/dejavu-test-\(getpid())-\(UInt64.random(in: 0 ... .max))")
        }
    }
}

let key: ClusterKey = .random()
let model = ModelID(digest: "aabbccdd")

func worker(
    _ name: String = "worker-1", term: Term? = nil, model: ModelID? = model, numericClass: UInt64 = 7
) -> LinkIdentity {
    LinkIdentity(
        role: .worker, name: name, incarnation: Incarnation(42), term: term, model: model,
        numericClass: NumericClass(hash: numericClass))
}

func controller(term: UInt64 = 5) -> LinkIdentity {
    LinkIdentity(
        role: .controller, name: "serve", incarnation: Incarnation(1), term: Term(number: term, nonce: 9), model: model,
        numericClass: NumericClass(hash: 7))
}

func endpoint(
    _ identity: LinkIdentity, key: ClusterKey = key, limits: LinkLimits = LinkLimits(),
    security: LinkSecurity = .localOnly, pace: LinkPace? = nil
) -> LinkEndpoint {
    LinkEndpoint(key: key, limits: limits, security: security, pace: pace) { identity }
}

func connect(_ endpoint: LinkEndpoint, to listener: LinkListener, inbox: Inbox = Inbox()) async throws -> Link {
    try await endpoint.connect(to: listener.address, on: loop()) { _ in inbox.receiver }.get()
}

func message(_ kind: UInt8 = 20, header: [UInt8] = [], payload: [UInt8] = []) -> LinkMessage {
    LinkMessage(kind: kind, header: ByteBuffer(bytes: header), payload: ByteBuffer(bytes: payload))
}
