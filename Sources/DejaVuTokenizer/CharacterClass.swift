/// What pre-tokenizers ask about a character. Whitespace wins over the general category.
enum CharacterClass: UInt32 {
    /// Control, format, surrogate, private use, unassigned.
    case other = 0
    case letter = 1
    case number = 2
    case whitespace = 3
    case punctuation = 4
    case mark = 5
    case symbol = 6
}

/// The class of every code point: an index of pages, of which equal ones are kept once.
struct CharacterClassTable: Sendable {
    private let pageOfBlock: [UInt16]
    private let classes: [UInt8]

    static let shared = CharacterClassTable()

    private init() {
        var all = [UInt8](repeating: 0, count: 0x110000)
        let ranges = CharacterClass.ranges
        for (index, entry) in ranges.enumerated() {
            let end = index + 1 < ranges.count ? Int(ranges[index + 1] >> 3) : all.count
            for code in Int(entry >> 3)..<end { all[code] = UInt8(entry & 7) }
        }
        var pages: [ArraySlice<UInt8>: UInt16] = [:]
        var pageOfBlock: [UInt16] = []
        var classes: [UInt8] = []
        for block in stride(from: 0, to: all.count, by: 256) {
            let page = all[block..<block + 256]
            let number = pages[page] ?? UInt16(classes.count / 256)
            if pages.updateValue(number, forKey: page) == nil { classes += page }
            pageOfBlock.append(number)
        }
        self.pageOfBlock = pageOfBlock
        self.classes = classes
    }

    /// The class's raw value.
    subscript(code: UInt32) -> UInt32 {
        guard code < 0x110000 else { return 0 }
        return UInt32(classes[Int(pageOfBlock[Int(code >> 8)]) << 8 | Int(code & 255)])
    }
}
