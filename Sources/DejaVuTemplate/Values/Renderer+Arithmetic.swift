import DejaVuCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The operators of numbers, text and lists. Integers have 64 bits; what would need more is an error.
extension Renderer {
    func arithmetic(
        _ operation: ArithmeticOperator, _ left: TemplateValue, _ right: TemplateValue
    ) throws(DejaVuError) -> TemplateValue {
        if case .string(let format) = left, operation == .modulo { return try percentFormat(format, right) }
        try requireDefined(left)
        try requireDefined(right)
        if let left = Self.integer(left), let right = Self.integer(right) {
            return try integers(operation, left, right)
        }
        if let left = Self.number(left), let right = Self.number(right) {
            return .double(try doubles(operation, left, right))
        }
        switch operation {
        case .add: return try add(left, right)
        case .multiply:
            if let count = Self.integer(right) { return try repeated(left, count) }
            if let count = Self.integer(left) { return try repeated(right, count) }
        default: break
        }
        throw unsupportedOperands(operation, left, right)
    }

    private func unsupportedOperands(
        _ operation: ArithmeticOperator, _ left: TemplateValue, _ right: TemplateValue
    ) -> DejaVuError {
        let sign = operation.rawValue
        return typeError("unsupported operand type(s) for \(sign): '\(left.typeName)' and '\(right.typeName)'")
    }

    private func checked(_ result: (partialValue: Int, overflow: Bool)) throws(DejaVuError) -> TemplateValue {
        guard !result.overflow else { throw overflow() }
        return .int(result.partialValue)
    }

    private func integers(
        _ operation: ArithmeticOperator, _ left: Int, _ right: Int
    ) throws(DejaVuError) -> TemplateValue {
        switch operation {
        case .add: return try checked(left.addingReportingOverflow(right))
        case .subtract: return try checked(left.subtractingReportingOverflow(right))
        case .multiply: return try checked(left.multipliedReportingOverflow(by: right))
        case .divide, .floorDivide, .modulo:
            guard right != 0 else { throw failure("ZeroDivisionError", "division by zero") }
            if operation == .divide { return .double(Double(left) / Double(right)) }
            let (quotient, overflowed) = left.dividedReportingOverflow(by: right)
            if overflowed {
                guard operation == .modulo else { throw overflow() }
                return .int(0)
            }
            let rest = left - quotient * right
            let isBelow = rest != 0 && (rest < 0) != (right < 0)
            return .int(operation == .modulo ? (isBelow ? rest + right : rest) : (isBelow ? quotient - 1 : quotient))
        case .power: return try power(left, right)
        }
    }

    private func power(_ base: Int, _ exponent: Int) throws(DejaVuError) -> TemplateValue {
        if exponent < 0 {
            guard base != 0 else { throw failure("ZeroDivisionError", "0.0 cannot be raised to a negative power") }
            return .double(pow(Double(base), Double(exponent)))
        }
        if base == 0 || base == 1 { return .int(exponent == 0 ? 1 : base) }
        if base == -1 { return .int(exponent % 2 == 0 ? 1 : -1) }
        var result = 1
        // Any other base leaves 64 bits within 63 steps.
        for _ in 0..<exponent {
            let (product, overflowed) = result.multipliedReportingOverflow(by: base)
            guard !overflowed else { throw overflow() }
            result = product
        }
        return .int(result)
    }

    private func doubles(_ operation: ArithmeticOperator, _ left: Double, _ right: Double) throws(DejaVuError) -> Double
    {
        switch operation {
        case .add: return left + right
        case .subtract: return left - right
        case .multiply: return left * right
        case .divide, .floorDivide, .modulo:
            guard right != 0 else { throw failure("ZeroDivisionError", "float division by zero") }
            if operation == .divide { return left / right }
            return Self.floorDivision(left, right, wantsRest: operation == .modulo)
        case .power:
            if left == 0, right < 0 {
                throw failure("ZeroDivisionError", "0.0 cannot be raised to a negative power")
            }
            if left < 0, left.isFinite, right.isFinite, right != right.rounded() {
                throw notSupported("a complex number")
            }
            let result = pow(left, right)
            if result.isInfinite, left.isFinite, right.isFinite {
                throw failure("OverflowError", "Numerical result out of range")
            }
            return result
        }
    }

    /// Python's `divmod` of floats, which rounds so that quotient and rest agree.
    private static func floorDivision(_ left: Double, _ right: Double, wantsRest: Bool) -> Double {
        var rest = left.truncatingRemainder(dividingBy: right)
        var quotient = (left - rest) / right
        if rest != 0 {
            if (right < 0) != (rest < 0) {
                rest += right
                quotient -= 1
            }
        } else {
            rest = Double(signOf: right, magnitudeOf: 0)
        }
        if wantsRest { return rest }
        guard quotient != 0 else { return Double(signOf: left / right, magnitudeOf: 0) }
        var floored = quotient.rounded(.down)
        if quotient - floored > 0.5 { floored += 1 }
        return floored
    }

    private func add(_ left: TemplateValue, _ right: TemplateValue) throws(DejaVuError) -> TemplateValue {
        switch (left, right) {
        case (.string(let left), .string(let right)):
            let isMarkup = left.isMarkup || right.isMarkup
            let (left, right) = isMarkup ? (escapedForMarkup(left), escapedForMarkup(right)) : (left, right)
            try charge(bytes: left.count + right.count)
            var result = left
            result.append(right)
            result.isMarkup = isMarkup
            return .string(result)
        case (.list(let left), .list(let right)): return .list(try makeList(left.items + right.items))
        case (.tuple(let left), .tuple(let right)): return .tuple(try makeList(left.items + right.items))
        default: throw unsupportedOperands(.add, left, right)
        }
    }

    private func repeated(_ value: TemplateValue, _ count: Int) throws(DejaVuError) -> TemplateValue {
        let count = max(0, count)
        switch value {
        case .string(let string):
            let (bytes, overflowed) = string.count.multipliedReportingOverflow(by: count)
            try charge(bytes: overflowed ? .max : bytes)
            var result = TemplateString()
            if !string.isEmpty { for _ in 0..<count { result.append(string) } }
            result.isMarkup = string.isMarkup
            return .string(result)
        case .list(let list), .tuple(let list):
            let (total, overflowed) = list.items.count.multipliedReportingOverflow(by: count)
            try charge(items: overflowed ? .max : total)
            let items = total == 0 ? [] : [TemplateValue](Array(repeating: list.items, count: count).joined())
            if case .list = value { return .list(try makeList(items)) }
            return .tuple(try makeList(items))
        default: throw typeError("can't multiply sequence by non-int of type '\(value.typeName)'")
        }
    }

    func negative(_ value: TemplateValue) throws(DejaVuError) -> TemplateValue {
        try requireDefined(value)
        if let int = Self.integer(value) { return try checked(0.subtractingReportingOverflow(int)) }
        if case .double(let double) = value { return .double(-double) }
        throw typeError("bad operand type for unary -: '\(value.typeName)'")
    }

    func positive(_ value: TemplateValue) throws(DejaVuError) -> TemplateValue {
        try requireDefined(value)
        if let int = Self.integer(value) { return .int(int) }
        if case .double = value { return value }
        throw typeError("bad operand type for unary +: '\(value.typeName)'")
    }

    /// What `Markup` makes of text that is added to it.
    func escapedForMarkup(_ string: TemplateString) -> TemplateString {
        string.isMarkup ? string : TextTools.escaped(string)
    }
}
