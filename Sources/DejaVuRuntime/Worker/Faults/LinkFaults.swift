import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import Synchronization

/// A worker's links, each behind a relay, and the ear that hears which fault is wanted. For `dejavu bench chaos` alone;
/// it works where links are unix sockets.
///
/// An order is a datagram of words to the socket `PID.sock` of the directory: `cut LINK SECONDS`,
/// `silence LINK SECONDS` or `corrupt LINK SECONDS`, where LINK is `controller`, `peer` or `bulk`.
final class LinkFaults: Sendable {
    enum Place: String, Sendable {
        /// To the controller; what strikes it strikes the heartbeats as well.
        case controller, heartbeats
        /// From the stage before.
        case peer
        /// From those whose replicas this worker holds.
        case bulk
    }

    private let path: String
    private let ear: Int32
    private let logger: Logger
    private let relays = Mutex<[Place: LinkRelay]>([:])
    private let hasEnded = Atomic<Bool>(false)

    /// - Parameter directory: private to the user.
    /// - Throws: `.network` if there can be no such socket.
    init(directory: String, logger: Logger) throws(DejaVuError) {
        self.logger = logger
        path = "\(directory)/\(getpid()).sock"
        guard path.utf8.count <= LinkAddress.pathBytesMax else {
            throw DejaVuError(.invalidArgument, "the path \(path) is too long for a socket", subject: "link-faults")
        }
        ear = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard UnixSocketPath.with(path, { bind(ear, $0, $1) == 0 }) else {
            let reason = String(cString: strerror(errno))
            close(ear)
            throw DejaVuError(.network, "cannot listen at \(path): \(reason)")
        }
        try OSThread.start("faults", stackBytes: 256 << 10) { self.listen() }
    }

    /// Nothing goes through any more, and no socket is left.
    func end() {
        hasEnded.store(true, ordering: .releasing)
        unlink(path)
        shutdown(ear, Int32(SHUT_RDWR))
        for relay in relays.withLock({ Array($0.values) }) { relay.end() }
    }

    /// Puts a relay in front of an address, once for each place.
    ///
    /// - Parameter front: a path for its socket.
    /// - Returns: the address to use instead; the same where no relay is possible.
    func relayed(_ address: LinkAddress, of place: Place, front: String) -> LinkAddress {
        guard case .unix(let back) = address else { return address }
        return relays.withLock { relays in
            if relays[place] != nil { return .unix(path: front) }
            do throws(DejaVuError) {
                relays[place] = try LinkRelay(front: front, back: back)
                return .unix(path: front)
            } catch {
                logger.error("a link has no relay", metadata: ["link": "\(place.rawValue)", "error": "\(error)"])
                return address
            }
        }
    }

    private func listen() {
        defer { close(ear) }
        var bytes = [UInt8](repeating: 0, count: 256)
        while true {
            let count = recv(ear, &bytes, bytes.count, 0)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0, !hasEnded.load(ordering: .acquiring) else { return }
            obey(String(decoding: bytes[..<count], as: UTF8.self))
        }
    }

    private func obey(_ order: String) {
        let words = order.split(whereSeparator: \.isWhitespace)
        let place = words.count > 1 ? Place(rawValue: String(words[1])) : nil
        let seconds = words.count > 2 ? Double(words[2]) ?? 0 : 0
        let struck = relays.withLock { relays in
            [place, place == .controller ? .heartbeats : nil].compactMap { $0 }.compactMap { relays[$0] }
        }
        let span = TimeSpan.seconds(min(max(seconds, 0), 600))
        switch words.first {
        case "cut" where !struck.isEmpty: for relay in struck { relay.cut(for: span) }
        case "silence" where !struck.isEmpty: for relay in struck { relay.silence(for: span) }
        case "corrupt" where !struck.isEmpty: for relay in struck { relay.corrupt() }
        default: logger.error("an order of a fault makes no sense", metadata: ["order": "\(order)"])
        }
    }
}

extension WorkerCore {
    /// Where one of this worker's links begins: at a relay if its links are to be struck, else at the address itself.
    func relayed(_ address: LinkAddress, of place: LinkFaults.Place) -> LinkAddress {
        guard let faults, case .directory(let directory) = options.peerListening else { return address }
        let name = WorkerPeers.socketName(of: getpid(), incarnation, "-\(place.rawValue)-relay")
        return faults.relayed(address, of: place, front: "\(directory)/\(name)")
    }
}
