package import DejaVuCore
import Glibc

/// What the operating system said no to.
package struct IOFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package let operation: String
    /// `errno`.
    package let number: Int32

    package init(_ operation: String, _ number: Int32) {
        self.operation = operation
        self.number = number
    }

    package var description: String { "\(operation): \(Self.text(number))" }
    /// No room, or no leave to take more of it.
    package var isFull: Bool { number == ENOSPC || number == EDQUOT || number == EFBIG }
    package var isMissing: Bool { number == ENOENT }

    /// As an error of ours: a full disk may have room later, anything else is the device's fault.
    package var error: DejaVuError { error(in: "disk store") }

    package func error(in place: String) -> DejaVuError {
        DejaVuError(isFull ? .resourceExhausted : .unavailable, "\(place): \(self)", subject: operation)
    }

    package static func text(_ number: Int32) -> String {
        strerror(number).map { String(cString: $0) } ?? "error \(number)"
    }
}
