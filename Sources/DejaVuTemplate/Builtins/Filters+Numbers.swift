import DejaVuCore

extension Builtins {
    /// Numbers, and what fits nowhere else.
    static let otherFilters: [String: Filter] = [
        "default": standard,
        "d": standard,
        "abs": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "abs", renderer)
            if let int = Renderer.integer(value) { return int < 0 ? try renderer.negative(value) : .int(int) }
            if case .double(let double) = value { return .double(abs(double)) }
            try renderer.requireDefined(value)
            throw renderer.typeError("bad operand type for abs(): '\(value.typeName)'")
        },
        "int": int,
        "float": { (renderer, value, arguments) throws(DejaVuError) in
            let standard = try arguments.bind(["default"], in: "float", renderer)[0]
            return try renderer.float(value).map { .double($0) } ?? standard ?? .double(0)
        },
        "round": round,
    ]

    private static func standard(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["default_value", "boolean"], in: "default", renderer)
        if value.isUndefined { return bound[0] ?? .literal("") }
        if try renderer.isTrue(bound[1] ?? .bool(false)), !(try renderer.isTrue(value)) {
            return bound[0] ?? .literal("")
        }
        return value
    }

    private static func int(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["default", "base"], in: "int", renderer)
        let standard = bound[0] ?? .int(0)
        if let int = Renderer.integer(value) { return .int(int) }
        if case .string(let string) = value {
            let base = try renderer.integer(bound[1], standard: 10, "int")
            if base == 0 || (2...36).contains(base),
                let parsed = FloatText.parseInteger(string.text, base: base)
            {
                guard !parsed.overflow else { throw renderer.overflow() }
                return .int(parsed.value)
            }
        }
        guard let double = try renderer.float(value), double.isFinite else {
            if case .double(let double) = value, double.isInfinite { throw renderer.overflow() }
            return standard
        }
        guard let int = Int(exactly: double.rounded(.towardZero)) else { throw renderer.overflow() }
        return .int(int)
    }

    private static func round(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["precision", "method"], in: "round", renderer)
        let precision = try renderer.integer(bound[0], standard: 0, "round")
        let method = try renderer.text(of: bound[1] ?? .literal("common")).text
        guard ["common", "ceil", "floor"].contains(method) else {
            throw renderer.failure("FilterArgumentError", "method must be common, ceil or floor")
        }
        if method == "common" {
            if case .double(let double) = value { return .double(try rounded(double, precision, renderer)) }
            guard let int = Renderer.integer(value) else {
                try renderer.requireDefined(value)
                throw renderer.typeError("type \(value.typeName) doesn't define __round__ method")
            }
            return .int(try rounded(int, precision, renderer))
        }
        let scale = try renderer.arithmetic(.power, .int(10), .int(precision))
        let scaled = try renderer.arithmetic(.multiply, value, scale)
        guard let number = Renderer.number(scaled) else { throw renderer.typeError("must be real number") }
        let whole = number.rounded(method == "ceil" ? .up : .down)
        guard Renderer.integer(scaled) != nil || Int(exactly: whole) != nil else { throw renderer.overflow() }
        let cut = Renderer.integer(scaled).map { TemplateValue.int($0) } ?? .int(Int(whole))
        return try renderer.arithmetic(.divide, cut, scale)
    }

    /// Half goes to even, as decided by the float's exact decimal digits.
    private static func rounded(_ value: Double, _ precision: Int, _ renderer: Renderer) throws(DejaVuError) -> Double {
        guard value.isFinite, precision < 400 else { return value }
        if precision >= 0 {
            return Double(FloatText.printed(value, "f", precision: precision)) ?? value
        }
        guard precision > -309 else { return Double(signOf: value, magnitudeOf: 0) }
        // All digits of the whole part are exact, so they can be rounded as text.
        let text = FloatText.printed(abs(value), "f", precision: 30)
        let whole = text.prefix { $0 != "." }
        let dropped = -precision
        guard whole.count >= dropped else { return Double(signOf: value, magnitudeOf: 0) }
        let kept = whole.dropLast(dropped)
        let rest = whole.suffix(dropped) + text.dropFirst(whole.count + 1)
        let half = "5" + String(repeating: "0", count: rest.count - 1)
        let isOdd = kept.last.map { "13579".contains($0) } ?? false
        let goesUp = rest > half || (rest == half && isOdd)
        guard let low = Double((kept.isEmpty ? "0" : String(kept)) + "e\(dropped)") else { return value }
        guard goesUp else { return Double(signOf: value, magnitudeOf: low) }
        guard let high = Double(incremented(kept) + "e\(dropped)"), high.isFinite else { throw renderer.overflow() }
        return Double(signOf: value, magnitudeOf: high)
    }

    private static func incremented(_ digits: Substring) -> String {
        var result = Array(digits.utf8)
        var index = result.count - 1
        while index >= 0 {
            if result[index] < UInt8(ascii: "9") {
                result[index] += 1
                return String(decoding: result, as: UTF8.self)
            }
            result[index] = UInt8(ascii: "0")
            index -= 1
        }
        return "1" + String(decoding: result, as: UTF8.self)
    }

    private static func rounded(_ value: Int, _ precision: Int, _ renderer: Renderer) throws(DejaVuError) -> Int {
        guard precision < 0 else { return value }
        guard precision > -19 else { return 0 }
        let unit = (0 ..< -precision).reduce(1) { result, _ in result * 10 }
        let (quotient, rest) = value.quotientAndRemainder(dividingBy: unit)
        let size = rest.magnitude
        let isUp = size > UInt(unit) / 2 || (size == UInt(unit) / 2 && quotient % 2 != 0)
        let (result, overflow) = (quotient + (isUp ? value.signum() : 0)).multipliedReportingOverflow(by: unit)
        guard !overflow else { throw renderer.overflow() }
        return result
    }
}
