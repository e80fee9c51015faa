/// Numbers as text, without Foundation and the same on every platform.
package enum NumberText {
    /// A coordinate: two decimals at most, none where they are zero. Not finite becomes 0: a picture must stay valid.
    static func coordinate(_ value: Double) -> String {
        guard value.isFinite else { return "0" }
        let hundredths = (min(max(value, -1e7), 1e7) * 100).rounded()
        return hundredths == 0 ? "0" : decimal(hundredths / 100, places: 2, trimmed: true)
    }

    /// A decimal number with a fixed number of places, without an exponent.
    ///
    /// - Parameter trimmed: drop zeros at the end of the fraction.
    package static func decimal(_ value: Double, places: Int, trimmed: Bool = false) -> String {
        guard value.isFinite else { return value.isNaN ? "–" : (value < 0 ? "−∞" : "∞") }
        let places = min(max(places, 0), 9)
        var factor = 1.0
        for _ in 0..<places { factor *= 10 }
        let scaled = (value.magnitude * factor).rounded()
        guard scaled < 9e15 else { return String(value) }
        var digits = String(Int64(scaled))
        if digits.utf8.count <= places {
            digits = String(repeating: "0", count: places + 1 - digits.utf8.count) + digits
        }
        var fraction = digits.suffix(places)
        let whole = digits.dropLast(places)
        if trimmed { while fraction.last == "0" { fraction.removeLast() } }
        let sign = value < 0 && scaled > 0 ? "-" : ""
        return sign + whole + (fraction.isEmpty ? "" : "." + fraction)
    }

    /// About `digits` significant digits, for labels beside bars and lines in tables.
    package static func significant(_ value: Double, digits: Int = 3) -> String {
        guard value.isFinite, value != 0 else { return decimal(value, places: 0) }
        let exponent = decimalExponent(value.magnitude)
        return decimal(value, places: max(0, digits - 1 - exponent), trimmed: exponent < 0)
    }

    /// The largest k with 10^k <= value.
    ///
    /// - Precondition: `value` is positive and finite.
    static func decimalExponent(_ value: Double) -> Int {
        precondition(value > 0 && value.isFinite, "only a positive number has a decimal exponent")
        var exponent = 0
        var rest = value
        while rest >= 10 {
            rest /= 10
            exponent += 1
        }
        // The tolerance takes up what the divisions by ten have lost.
        while rest < 1 - 1e-12 {
            rest *= 10
            exponent -= 1
        }
        return exponent
    }

    static func powerOfTen(_ exponent: Int) -> Double {
        var result = 1.0
        for _ in 0..<min(exponent.magnitude, 400) { result *= 10 }
        return exponent < 0 ? 1 / result : result
    }
}
