import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOPosix

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Names for the ways in which a request fails: a bounded set, for counting.
enum ErrorKind {
    static let truncated = "stream ended early"
    static let malformed = "malformed stream"
    static let errorEvent = "error event"
    static let overload = "in-flight limit"

    static func status(_ code: Int) -> String { "http \(code)" }

    /// The kind of an error of the HTTP client or of the system below it.
    static func name(of error: any Error) -> String {
        if let error = error as? HTTPClientError {
            if error == .deadlineExceeded || error == .readTimeout { return "timeout" }
            if error == .connectTimeout { return "connect timeout" }
            if error == .remoteConnectionClosed { return "disconnected" }
            return error.shortDescription
        }
        if let error = error as? HTTPParserError {
            // The end of the connection inside a body is one of the parser's errors.
            return error == .invalidEOFState ? "disconnected" : "malformed http"
        }
        if error is NIOConnectionError { return "connect refused" }
        if error is ChannelError { return "disconnected" }
        if let error = error as? IOError {
            switch error.errnoCode {
            case ECONNREFUSED: return "connect refused"
            case ECONNRESET, EPIPE: return "disconnected"
            default: return "i/o error \(error.errnoCode)"
            }
        }
        return String(describing: type(of: error))
    }

    /// The beginning of an error's body on one line.
    static func excerpt(_ body: ByteBuffer) -> String {
        let text = String(decoding: body.readableBytesView.prefix(300), as: UTF8.self)
        return String(text.map { $0.isNewline ? " " : $0 })
    }
}
