/// A node of an expression. Names carry the number of their use, which `ScopeTable` maps to a place.
final class Expression: Sendable {
    enum Node: Sendable {
        case none
        case bool(Bool)
        case int(Int)
        case double(Double)
        case string(TemplateString)
        case name(String, use: Int)
        case list([Expression])
        case tuple([Expression])
        case dict([(key: Expression, value: Expression)])
        case attribute(Expression, TemplateString)
        case item(Expression, Expression)
        case slice(Expression, start: Expression?, stop: Expression?, step: Expression?)
        case call(Expression, CallArguments)
        /// A filter; without an operand inside `{% filter %}` and block `set`, where the captured text is it.
        case filter(Expression?, name: String, CallArguments)
        case test(Expression, name: String, CallArguments)
        case negative(Expression)
        case positive(Expression)
        case not(Expression)
        case and(Expression, Expression)
        case or(Expression, Expression)
        case arithmetic(ArithmeticOperator, Expression, Expression)
        case compare(Expression, [(operation: ComparisonOperator, operand: Expression)])
        case concatenate([Expression])
        case conditional(test: Expression, then: Expression, otherwise: Expression?)
    }

    let node: Node
    let line: Int
    /// The longest way down to a leaf.
    let depth: Int

    init(_ node: Node, line: Int) {
        self.node = node
        self.line = line
        depth = Self.children(of: node).reduce(0) { max($0, $1.depth) } + 1
    }

    var children: [Expression] { Self.children(of: node) }

    private static func children(of node: Node) -> [Expression] {
        switch node {
        case .none, .bool, .int, .double, .string, .name: return []
        case .list(let items), .tuple(let items), .concatenate(let items): return items
        case .dict(let pairs): return pairs.flatMap { [$0.key, $0.value] }
        case .attribute(let base, _): return [base]
        case .item(let base, let key): return [base, key]
        case .slice(let base, let start, let stop, let step): return [base] + [start, stop, step].compactMap { $0 }
        case .call(let callee, let arguments): return [callee] + arguments.expressions
        case .filter(let operand, _, let arguments): return (operand.map { [$0] } ?? []) + arguments.expressions
        case .test(let operand, _, let arguments): return [operand] + arguments.expressions
        case .negative(let operand), .positive(let operand), .not(let operand): return [operand]
        case .and(let left, let right), .or(let left, let right), .arithmetic(_, let left, let right):
            return [left, right]
        case .compare(let first, let rest): return [first] + rest.map(\.operand)
        case .conditional(let test, let then, let otherwise): return [test, then] + (otherwise.map { [$0] } ?? [])
        }
    }
}

enum ArithmeticOperator: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case modulo = "%"
    case power = "**"
}

enum ComparisonOperator: String, Sendable {
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case isIn = "in"
    case isNotIn = "not in"
}

/// What stands between the parentheses of a call.
struct CallArguments: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
    /// `*values`
    var rest: Expression?
    /// `**values`
    var namedRest: Expression?

    var expressions: [Expression] { positional + named.map(\.value) + [rest, namedRest].compactMap { $0 } }
    var isEmpty: Bool { positional.isEmpty && named.isEmpty && rest == nil && namedRest == nil }
}
