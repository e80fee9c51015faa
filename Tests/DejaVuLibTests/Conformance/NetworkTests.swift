import DejaVuCore
import Glibc
import Testing

/// Two hosts of our own, joined by a cable that can be cut: network namespaces with a veth pair.
private final class TwoHosts: Sendable {
    let left: [String]
    let right: [String]
    let rightAddress = "10.213.7.2"
    private let names: (String, String)

    init() throws {
        names = ("dv\(getpid())a", "dv\(getpid())b")
        left = ["ip", "netns", "exec", names.0]
        right = ["ip", "netns", "exec", names.1]
        for name in [names.0, names.1] { try Self.run(["ip", "netns", "add", name]) }
        do {
            try Self.run(
                left + ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names.1])
            for (host, address) in [(left, "10.213.7.1/24"), (right, rightAddress + "/24")] {
                try Self.run(host + ["ip", "address", "add", address, "dev", "cable"])
                try Self.run(host + ["ip", "link", "set", "cable", "up"])
            }
            try Self.run(right + ["iptables", "-L", "-n"])
        } catch {
            remove()
            throw error
        }
    }

    deinit { remove() }

    private func remove() {
        for name in [names.0, names.1] { try? Self.run(["ip", "netns", "delete", name]) }
    }

    /// From now on every packet vanishes, both ways, without a word.
    func blackhole() throws {
        for chain in ["INPUT", "OUTPUT"] { try Self.run(right + ["iptables", "-I", chain, "-j", "DROP"]) }
    }

    private static func run(_ command: [String]) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for descriptor in [1, 2] as [Int32] {
            posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
        }
        var pointers = command.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var process = pid_t()
        var status: Int32 = 0
        guard posix_spawnp(&process, command[0], &actions, nil, &pointers, environ) == 0,
            waitpid(process, &status, 0) == process, status == 0
        else { throw DejaVuError(.unavailable, "'\(command.joined(separator: " "))' does not work here") }
    }

    /// Why there can be no such hosts here; nil if there can.
    static let reason: String? = {
        do {
            _ = try TwoHosts()
            return nil
        } catch {
            let text = "transport_networkIsBlackholed: skipped: \(error)\n"
            _ = text.withCString { write(2, $0, strlen($0)) }
            return text
        }
    }()
}

@Test(.enabled("needs network namespaces and iptables") { TwoHosts.reason == nil })
func transport_networkIsBlackholed_bothEndsNotice() async throws {
    let hosts = try TwoHosts()
    let secret = "a key that only these tests have"
    let server = try Child(["serve", "\(hosts.rightAddress):0", secret, "100000"], prefix: hosts.right)
    let address = try await server.untilSays("listening ")
    let client = try Child(["send", address, secret, "100000"], prefix: hosts.left)
    _ = try await client.untilSays("committed 3")
    try hosts.blackhole()
    let code = try await client.untilSays("over ")
    #expect(code == "network" || code == "deadlineExceeded", "\(code)")
    #expect(try await server.untilSays("ended ") == "lost")
}
