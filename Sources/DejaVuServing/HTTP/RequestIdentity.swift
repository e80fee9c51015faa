import Synchronization

/// Gives out the ids of this process's requests.
///
/// They start at a random place, so that no two processes use the same one.
final class RequestNumbers: Sendable {
    private let next = Atomic<UInt64>(UInt64.random(in: 1...(1 << 62)))

    func take() -> UInt64 { next.wrappingAdd(1, ordering: .relaxed).newValue }
}

/// A request's name in answers and log lines.
enum RequestIdentity {
    /// The client's own name for it if it is one that can stand in a log, else one of ours.
    static func name(_ given: String?, number: UInt64) -> String {
        if let given, (1...128).contains(given.utf8.count), given.utf8.allSatisfy(isPlain) { return given }
        return "req_" + hexadecimal(number)
    }

    /// Sixteen hexadecimal digits.
    static func hexadecimal(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: ":"), UInt8(ascii: "/"), UInt8(ascii: "+"), UInt8(ascii: "="):
            true
        default: false
        }
    }
}
