/// Text that knows which parts of it the template's author wrote and which came in as data.
///
/// Special tokens may be recognised in the former only. The tag follows the text through concatenation, slicing,
/// stripping, replacing, quoting and case mapping. Where it cannot be followed the result counts as data. The bytes
/// are always valid UTF-8, and every offset that this module cuts at lies between two scalars.
package struct TemplateString: Sendable {
    /// A stretch of bytes up to `end` with one origin.
    struct Run: Sendable {
        var end: Int
        var isTemplate: Bool
    }

    /// Where the bytes come from. An empty string may have any origin.
    enum Provenance: Sendable {
        case template
        case data
        case mixed([Run])
    }

    package private(set) var bytes: [UInt8]
    private(set) var provenance: Provenance
    /// Whether this is what Python calls `Markup`: text that escapes whatever is added to it.
    var isMarkup = false

    init() {
        bytes = []
        provenance = .template
    }

    init(bytes: [UInt8], isTemplate: Bool) {
        self.bytes = bytes
        provenance = isTemplate ? .template : .data
    }

    /// `text` as data (a message) or, with `isTemplate`, as something the template's author could have written.
    package init(_ text: String, isTemplate: Bool) {
        self.init(bytes: Array(text.utf8), isTemplate: isTemplate)
    }

    /// Text made by the interpreter itself: digits, brackets, names of constants.
    init(literal text: String) {
        self.init(text, isTemplate: true)
    }

    /// New bytes of the same length as the old ones, with the same origins.
    init(bytes: [UInt8], like other: TemplateString) {
        precondition(bytes.count == other.bytes.count, "provenance is by offset")
        self = other
        self.bytes = bytes
    }

    package var text: String { String(decoding: bytes, as: UTF8.self) }
    var count: Int { bytes.count }
    var isEmpty: Bool { bytes.isEmpty }
    var isASCII: Bool { bytes.allSatisfy { $0 < 0x80 } }
    /// The length that Python sees.
    var scalarCount: Int { bytes.reduce(into: 0) { $0 += ($1 & 0xC0) == 0x80 ? 0 : 1 } }

    /// Whether all of it was written by the template's author.
    var isTemplate: Bool {
        if case .template = provenance { return true }
        return bytes.isEmpty
    }

    /// The same text with all of it counted as data.
    var asData: TemplateString { TemplateString(bytes: bytes, isTemplate: false) }

    /// The same text without the markup flag.
    var plain: TemplateString {
        var copy = self
        copy.isMarkup = false
        return copy
    }

    /// The stretches of one origin inside `range`, in order.
    func runs(in range: Range<Int>) -> [(range: Range<Int>, isTemplate: Bool)] {
        guard !range.isEmpty else { return [] }
        switch provenance {
        case .template: return [(range, true)]
        case .data: return [(range, false)]
        case .mixed(let runs):
            var result: [(range: Range<Int>, isTemplate: Bool)] = []
            var index = Self.firstRun(endingAfter: range.lowerBound, in: runs)
            var start = range.lowerBound
            while start < range.upperBound {
                let end = min(runs[index].end, range.upperBound)
                result.append((start..<end, runs[index].isTemplate))
                start = end
                index += 1
            }
            return result
        }
    }

    private static func firstRun(endingAfter offset: Int, in runs: [Run]) -> Int {
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].end <= offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The bytes of `range` with their origins; a slice of markup is markup.
    func slice(_ range: Range<Int>) -> TemplateString {
        if range.count == bytes.count { return self }
        var result = TemplateString()
        result.append(self, range)
        result.isMarkup = isMarkup
        return result
    }

    mutating func reserve(_ capacity: Int) { bytes.reserveCapacity(capacity) }

    mutating func append(_ other: TemplateString) {
        switch other.provenance {
        case .template: append(other.bytes[...], isTemplate: true)
        case .data: append(other.bytes[...], isTemplate: false)
        case .mixed: append(other, 0..<other.count)
        }
    }

    mutating func append(_ other: TemplateString, _ range: Range<Int>) {
        switch other.provenance {
        case .template: append(other.bytes[range], isTemplate: true)
        case .data: append(other.bytes[range], isTemplate: false)
        case .mixed:
            for run in other.runs(in: range) { append(other.bytes[run.range], isTemplate: run.isTemplate) }
        }
    }

    mutating func append(_ slice: ArraySlice<UInt8>, isTemplate: Bool) {
        guard !slice.isEmpty else { return }
        let start = bytes.count
        bytes.append(contentsOf: slice)
        tag(from: start, isTemplate: isTemplate)
    }

    mutating func append(literal text: StaticString) {
        let start = bytes.count
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
        tag(from: start, isTemplate: true)
    }

    mutating func append(_ text: String, isTemplate: Bool) {
        let start = bytes.count
        bytes.append(contentsOf: text.utf8)
        tag(from: start, isTemplate: isTemplate)
    }

    mutating func append(_ scalar: Unicode.Scalar, isTemplate: Bool) {
        let start = bytes.count
        bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        tag(from: start, isTemplate: isTemplate)
    }

    private mutating func tag(from start: Int, isTemplate: Bool) {
        guard bytes.count > start else { return }
        if start == 0 {
            provenance = isTemplate ? .template : .data
            return
        }
        switch provenance {
        case .template:
            if !isTemplate {
                provenance = .mixed([Run(end: start, isTemplate: true), Run(end: bytes.count, isTemplate: false)])
            }
        case .data:
            if isTemplate {
                provenance = .mixed([Run(end: start, isTemplate: false), Run(end: bytes.count, isTemplate: true)])
            }
        case .mixed(var runs):
            // Let go of the stored array first, so that changing the local one does not copy it.
            provenance = .template
            if runs[runs.count - 1].isTemplate == isTemplate {
                runs[runs.count - 1].end = bytes.count
            } else {
                runs.append(Run(end: bytes.count, isTemplate: isTemplate))
            }
            provenance = .mixed(runs)
        }
    }
}
