public import DejaVuCore

/// What kind of process is at an end of a link.
public enum LinkRole: UInt8, Hashable, Sendable, CustomStringConvertible {
    case controller = 1
    case worker = 2
    public var description: String { self == .controller ? "controller" : "worker" }
}

/// What a process says of itself in a handshake, under the proof of the key.
public struct LinkIdentity: Hashable, Sendable, WireValue, CustomStringConvertible {
    public static let nameBytesMax = 200

    public let role: LinkRole
    /// For people: printable, at most `nameBytesMax` bytes.
    public let name: String
    public let incarnation: Incarnation
    /// The controller's own term; the greatest that a worker has obeyed; nil if none.
    public let term: Term?
    /// nil leaves it open.
    public let model: ModelID?
    /// nil leaves it open.
    public let numericClass: NumericClass?

    public init(
        role: LinkRole, name: String, incarnation: Incarnation, term: Term? = nil, model: ModelID? = nil,
        numericClass: NumericClass? = nil
    ) {
        self.role = role
        self.name = printable(name, bytesMax: Self.nameBytesMax)
        self.incarnation = incarnation
        self.term = term
        self.model = model
        self.numericClass = numericClass
    }

    public var description: String { "\(role) '\(name)'" }

    /// Why these two must not work together; nil if they may. Names both sides.
    public func mismatch(with other: LinkIdentity) -> DejaVuError? {
        if let mine = model, let theirs = other.model, mine != theirs {
            return DejaVuError(
                .mismatch, "model mismatch: \(self) has \(mine.digest), \(other) has \(theirs.digest)",
                subject: "model")
        }
        if let mine = numericClass, let theirs = other.numericClass, mine != theirs {
            return DejaVuError(
                .mismatch, "numeric class mismatch: \(self) computes in class \(mine), \(other) in class \(theirs)",
                subject: "numeric class")
        }
        let (controller, worker) = role == .controller ? (self, other) : (other, self)
        if controller.role != worker.role, let reign = controller.term, let obeyed = worker.term, reign < obeyed {
            return DejaVuError(
                .refused, "term too old: \(controller) reigns in \(reign), \(worker) has obeyed \(obeyed)",
                subject: "term")
        }
        return nil
    }

    public static let wireBytesMin = 1 + 4 + 8 + 3

    public func write(to writer: inout ByteWriter) {
        writer.write(role.rawValue)
        writer.write(name)
        writer.write(incarnation)
        writer.write(term != nil)
        if let term {
            writer.write(term.number)
            writer.write(term.nonce)
        }
        writer.write(model != nil)
        if let model { writer.write(model.digest) }
        writer.write(numericClass != nil)
        if let numericClass { writer.write(numericClass.hash) }
    }

    public init(from reader: inout ByteReader) throws(DejaVuError) {
        guard let role = LinkRole(rawValue: try reader.read()) else { throw .malformed("unknown role") }
        let name = try reader.readString()
        let incarnation = try reader.read(Incarnation.self)
        let term = try reader.readBool() ? Term(number: try reader.read(), nonce: try reader.read()) : nil
        let model = try reader.readBool() ? ModelID(digest: printable(try reader.readString(), bytesMax: 128)) : nil
        let numericClass = try reader.readBool() ? NumericClass(hash: try reader.read()) : nil
        self.init(
            role: role, name: name, incarnation: incarnation, term: term, model: model, numericClass: numericClass)
    }
}

/// A peer's text as it may go into a log or an error: no control characters, not longer than that many bytes.
func printable(_ text: String, bytesMax: Int) -> String {
    var result = ""
    var bytes = 0
    for scalar in text.unicodeScalars {
        let control = scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format
        let safe = control || scalar == "\u{2028}" || scalar == "\u{2029}" ? "\u{FFFD}" : scalar
        bytes += UTF8.width(safe)
        if bytes > bytesMax { break }
        result.unicodeScalars.append(safe)
    }
    return result
}
