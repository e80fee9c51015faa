import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import Glibc
import NIOCore
import NIOPosix

/// An end of a transport in a process of its own, for tests to kill, stop and cut off.
///
/// ```
/// DejaVuTestPeer serve ADDRESS KEY ROW_BYTES    takes frames; says "listening ADDRESS", and "ended" after each link
/// DejaVuTestPeer send ADDRESS KEY ROW_BYTES     sends frames of four sequences for ever; says "committed" after each
/// ```
/// Ends with code 0 when what it talks to has ended, after having said why.
@main
enum TestPeer {
    static func main() async {
        let arguments = CommandLine.arguments
        guard arguments.count == 5, let rowBytes = Int(arguments[4]) else { exit(2) }
        do {
            let address = try LinkAddress(parsing: arguments[2])
            let endpoint = try endpoint(key: arguments[3], name: arguments[1])
            switch arguments[1] {
            case "serve": try await serve(at: address, endpoint, rowBytes)
            case "send": try await send(to: address, endpoint, rowBytes)
            default: exit(2)
            }
        } catch {
            say("failed \(error)")
            exit(1)
        }
    }

    static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
    }

    static func endpoint(key: String, name: String) throws -> LinkEndpoint {
        let identity = LinkIdentity(
            role: .worker, name: name, incarnation: TestFrames.writer, numericClass: NumericClass(hash: 7))
        var limits = LinkLimits()
        limits.silenceTime = .seconds(Int64(1))
        return LinkEndpoint(
            key: try ClusterKey(bytes: Array(key.utf8)), limits: limits, security: try .remote(.selfSigned())
        ) { identity }
    }

    static func serve(at address: LinkAddress, _ endpoint: LinkEndpoint, _ rowBytes: Int) async throws {
        let server = StoreServer(["rows": RecordingStore(rowBytes: rowBytes, keepsRows: false)])
        let listener = try await LinkTransport.listen(
            at: address, as: endpoint, serving: server, on: MultiThreadedEventLoopGroup.singleton.next(),
            opened: { $0.whenEnded { say("ended \($0.cause)") } }, refused: { say("refused \($0)") })
        say("listening \(listener.address)")
        while true { try await Task.sleep(for: .seconds(3600)) }
    }

    static func send(to address: LinkAddress, _ endpoint: LinkEndpoint, _ rowBytes: Int) async throws {
        let transport = try await LinkTransport.connect(
            to: address, as: endpoint, on: MultiThreadedEventLoopGroup.singleton.next())
        let within = TimeSpan.seconds(Int64(20))
        let sequences = (1...4).map { SequenceID(UInt64($0)) }
        for sequence in sequences {
            try await transport.open(TestFrames.ticket(sequence), tokens: [], in: "rows", within: within)
        }
        for position in 0..<1_000_000 {
            var postings: [Posting] = []
            for sequence in sequences {
                let staging = try await transport.prepare(rowBytes, priority: .replica, within: within)
                staging.fill { TestFrames.fill(&$0, sequence, position..<position + 1, rowBytes: rowBytes) }
                let header = TestFrames.header(sequence, position..<position + 1, rowBytes: rowBytes)
                postings.append(
                    transport.post(
                        FramePost(header: header, store: "rows", priority: .replica, within: within), rows: staging))
            }
            for posting in postings {
                do { _ = try await posting.receipt() } catch {
                    say("over \(error.code)")
                    exit(0)
                }
            }
            say("committed \(position)")
        }
    }
}
