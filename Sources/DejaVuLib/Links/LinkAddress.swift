public import DejaVuCore

/// Where a process listens for links: `unix:/path`, `host:port`, `[v6]:port`, or `disk:/path`, a directory through
/// whose files bytes go.
public enum LinkAddress: Hashable, Sendable, CustomStringConvertible {
    case unix(path: String)
    case tcp(host: String, port: Int)
    case disk(directory: String)

    /// The longest path that the kernel takes for a unix socket.
    public static let pathBytesMax = 107
    /// Leaves room for the names in it.
    static let directoryBytesMax = 4000

    /// - Throws: `.invalidArgument` with the text and what is wrong with it.
    public init(parsing text: String) throws(DejaVuError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty, path.utf8.count <= Self.pathBytesMax, !path.utf8.contains(0) else {
                throw DejaVuError(.invalidArgument, "the path in '\(text)' must have 1 to \(Self.pathBytesMax) bytes")
            }
            self = .unix(path: path)
            return
        }
        if text.hasPrefix("disk:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty, path.utf8.count <= Self.directoryBytesMax, !path.utf8.contains(0) else {
                throw DejaVuError(
                    .invalidArgument, "the path in '\(text)' must have 1 to \(Self.directoryBytesMax) bytes")
            }
            self = .disk(directory: path)
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65535).contains(port)
        else { throw DejaVuError(.invalidArgument, "'\(text)' is not HOST:PORT, unix:PATH or disk:DIRECTORY") }
        var host = String(text[..<colon])
        let bracketed = host.hasPrefix("[") && host.hasSuffix("]")
        if bracketed { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, host.utf8.count <= 253, bracketed || !host.contains(":"),
            host.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
        else { throw DejaVuError(.invalidArgument, "'\(text)' has no usable host") }
        self = .tcp(host: host, port: port)
    }

    public var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .disk(let directory): "disk:\(directory)"
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }

    /// Whether only processes of this machine can reach it, going by the name alone.
    public var isLocal: Bool {
        switch self {
        case .unix, .disk: true
        case .tcp(let host, _): host == "localhost" || host == "::1" || Self.isLoopback4(host)
        }
    }

    private static func isLoopback4(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}
