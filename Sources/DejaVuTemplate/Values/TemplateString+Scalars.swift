/// Python's view of text: a sequence of Unicode scalars.
extension TemplateString {
    /// The scalar that starts at `offset`, and how many bytes it takes.
    func scalar(at offset: Int) -> (scalar: Unicode.Scalar, length: Int) { UTF8Text.scalar(in: bytes, at: offset) }

    /// The byte offset of scalar `index`, which lies in `0...scalarCount`.
    func offset(ofScalar index: Int) -> Int {
        if isASCII { return index }
        var left = index
        for (offset, byte) in bytes.enumerated() where (byte & 0xC0) != 0x80 {
            if left == 0 { return offset }
            left -= 1
        }
        return bytes.count
    }

    /// How many scalars lie before byte `offset`.
    func scalarIndex(ofByte offset: Int) -> Int {
        bytes[..<offset].reduce(into: 0) { $0 += ($1 & 0xC0) == 0x80 ? 0 : 1 }
    }

    /// Where every scalar starts, and the end.
    var scalarOffsets: [Int] {
        var offsets: [Int] = []
        offsets.reserveCapacity(bytes.count + 1)
        for (offset, byte) in bytes.enumerated() where (byte & 0xC0) != 0x80 { offsets.append(offset) }
        offsets.append(bytes.count)
        return offsets
    }

    /// The whole text as scalars.
    var scalars: [Unicode.Scalar] { Array(text.unicodeScalars) }

    /// Every scalar replaced by what `map` makes of it, origins kept.
    func mapScalars(_ map: (Unicode.Scalar) -> String) -> TemplateString {
        var result = TemplateString()
        result.reserve(count)
        for run in runs(in: 0..<count) {
            var offset = run.range.lowerBound
            while offset < run.range.upperBound {
                let (scalar, length) = scalar(at: offset)
                result.append(map(scalar), isTemplate: run.isTemplate)
                offset += length
            }
        }
        result.isMarkup = isMarkup
        return result
    }

    /// The part that is left when scalars for which `remove` holds are taken from the chosen ends.
    func strippedRange(left: Bool, right: Bool, where remove: (Unicode.Scalar) -> Bool) -> Range<Int> {
        var start = 0
        var end = count
        while left, start < end {
            let (scalar, length) = scalar(at: start)
            guard remove(scalar) else { break }
            start += length
        }
        while right, end > start {
            var last = end - 1
            while (bytes[last] & 0xC0) == 0x80 { last -= 1 }
            guard remove(scalar(at: last).scalar) else { break }
            end = last
        }
        return start..<end
    }

    /// Two texts are equal in Python whatever their origins.
    static func == (left: TemplateString, right: TemplateString) -> Bool { left.bytes == right.bytes }

    /// Order by code point, which is the order of UTF-8 bytes.
    static func < (left: TemplateString, right: TemplateString) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

/// Facts about UTF-8 text and single scalars, as Python's `str` sees them.
enum UTF8Text {
    static func scalar(in bytes: [UInt8], at offset: Int) -> (scalar: Unicode.Scalar, length: Int) {
        let first = UInt32(bytes[offset])
        if first < 0x80 { return (Unicode.Scalar(UInt8(first)), 1) }
        let length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        var value = first & (length == 2 ? 0x1F : length == 3 ? 0x0F : 0x07)
        for next in 1..<length { value = value << 6 | UInt32(bytes[offset + next] & 0x3F) }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
    }

    /// `str.isspace` of one scalar.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000:
            return true
        default: return false
        }
    }

    /// The length of the white space scalar at `offset`, or 0.
    static func spaceLength(in bytes: [UInt8], at offset: Int) -> Int {
        let byte = bytes[offset]
        if byte < 0x80 { return (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x20) ? 1 : 0 }
        let (scalar, length) = scalar(in: bytes, at: offset)
        return isSpace(scalar) ? length : 0
    }

    /// Whether `str.splitlines` cuts after this scalar.
    static func isLineEnd(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: return true
        default: return false
        }
    }

    /// The offset of `needle` in `bytes[range]`, in time proportional to both lengths.
    static func find(_ needle: [UInt8], in bytes: [UInt8], _ range: Range<Int>) -> Int? {
        if needle.isEmpty { return range.lowerBound }
        guard needle.count <= range.count else { return nil }
        if needle.count <= 8 { return findShort(needle, in: bytes, range) }
        let fallback = borders(of: needle)
        var matched = 0
        for offset in range {
            while matched > 0, needle[matched] != bytes[offset] { matched = fallback[matched - 1] }
            if needle[matched] == bytes[offset] { matched += 1 }
            if matched == needle.count { return offset - matched + 1 }
        }
        return nil
    }

    private static func findShort(_ needle: [UInt8], in bytes: [UInt8], _ range: Range<Int>) -> Int? {
        let first = needle[0]
        let last = range.upperBound - needle.count
        var offset = range.lowerBound
        while offset <= last {
            if bytes[offset] == first {
                var matched = 1
                while matched < needle.count, bytes[offset + matched] == needle[matched] { matched += 1 }
                if matched == needle.count { return offset }
            }
            offset += 1
        }
        return nil
    }

    /// For each prefix of `needle`, the length of its longest proper border (Knuth, Morris and Pratt).
    private static func borders(of needle: [UInt8]) -> [Int] {
        var result = [Int](repeating: 0, count: needle.count)
        var length = 0
        for index in 1..<needle.count {
            while length > 0, needle[index] != needle[length] { length = result[length - 1] }
            if needle[index] == needle[length] { length += 1 }
            result[index] = length
        }
        return result
    }

    /// The offset of the last `needle` in `bytes[range]`.
    static func findLast(_ needle: [UInt8], in bytes: [UInt8], _ range: Range<Int>) -> Int? {
        if needle.isEmpty { return range.upperBound }
        guard needle.count <= range.count else { return nil }
        let reversed = Array(bytes[range].reversed())
        return find(needle.reversed(), in: reversed, 0..<reversed.count).map { range.upperBound - $0 - needle.count }
    }
}
