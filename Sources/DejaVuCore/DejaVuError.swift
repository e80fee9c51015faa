/// The one error type of the project.
///
/// `message` is for people and never holds prompts or generated text; `code` is for programs and metric labels.
public struct DejaVuError: Error, Hashable, Sendable, Codable, CustomStringConvertible {
    /// What kind of failure it is; a bounded set, safe as a metric label.
    public struct Code: Hashable, Sendable, Codable, LosslessStringConvertible {
        private enum Wrapped: String, Codable {
            case invalidArgument, invalidFile, unsupported, notFound, resourceExhausted, unavailable, deadlineExceeded
            case cancelled, refused, mismatch, network, poisoned, internalError
        }
        private let wrapped: Wrapped
        private init(_ wrapped: Wrapped) { self.wrapped = wrapped }
        public var description: String { wrapped.rawValue }
        /// The code of that description; nil if there is none.
        public init?(_ description: String) {
            guard let wrapped = Wrapped(rawValue: description) else { return nil }
            self.wrapped = wrapped
        }

        /// The caller's input is wrong, whatever the state of the system.
        public static let invalidArgument = Code(.invalidArgument)
        /// A file's content breaks its format.
        public static let invalidFile = Code(.invalidFile)
        /// Well formed, but not something that we can do.
        public static let unsupported = Code(.unsupported)
        public static let notFound = Code(.notFound)
        /// A limit or a budget is reached; later may work.
        public static let resourceExhausted = Code(.resourceExhausted)
        /// Not able to serve now.
        public static let unavailable = Code(.unavailable)
        public static let deadlineExceeded = Code(.deadlineExceeded)
        public static let cancelled = Code(.cancelled)
        /// The other side says no: key, term, version.
        public static let refused = Code(.refused)
        /// Two sides that must agree do not: model, numeric class.
        public static let mismatch = Code(.mismatch)
        public static let network = Code(.network)
        /// The request itself brings workers down.
        public static let poisoned = Code(.poisoned)
        /// A bug of ours that could be contained.
        public static let internalError = Code(.internalError)
    }

    public let code: Code
    public let message: String
    /// What the error was about, where a caller may want to point at it: a parameter, a field.
    public let subject: String?

    public init(_ code: Code, _ message: String, subject: String? = nil) {
        self.code = code
        self.message = message
        self.subject = subject
    }

    public var description: String { "\(message) (\(code))" }
}
