import ArgumentParser

/// A number of bytes as people write it: `512M`, `4G`, `1.5GiB`, `1048576`. Units are powers of 1024.
package struct ByteSize: ExpressibleByArgument, Hashable, Sendable, CustomStringConvertible {
    package let bytes: Int

    package init(bytes: Int) { self.bytes = bytes }

    package init?(argument: String) {
        var number = argument
        var unit = ""
        while let last = number.last, last.isLetter { unit.insert(number.removeLast(), at: unit.startIndex) }
        var name = unit.uppercased()
        if name.hasSuffix("B") { name.removeLast() }
        if name.hasSuffix("I") { name.removeLast() }
        let exponents = ["": 0, "K": 1, "M": 2, "G": 3, "T": 4]
        guard let exponent = exponents[name], let value = Double(number), value >= 0 else { return nil }
        let bytes = value * Double(1 << (10 * exponent))
        guard bytes <= Double(Int.max / 2) else { return nil }
        self.bytes = Int(bytes)
    }

    package var description: String { Self.describe(bytes) }
    package var defaultValueDescription: String { description }

    /// `1.5 GiB`, with at most one decimal.
    package static func describe(_ bytes: Int) -> String {
        var value = Double(bytes)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 {
                let tenths = (value * 10).rounded() / 10
                return tenths == tenths.rounded() ? "\(Int(tenths)) \(unit)" : "\(tenths) \(unit)"
            }
            value /= 1024
        }
        return "\((value * 10).rounded() / 10) TiB"
    }
}
