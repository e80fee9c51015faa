/// The values of one frame's names while the frame is running.
final class Scope {
    /// Nil is a name that has no value yet.
    var slots: [TemplateValue?]
    let parent: Scope?

    init(slots: Int, parent: Scope?) {
        self.slots = Array(repeating: nil, count: slots)
        self.parent = parent
    }

    func value(at place: ScopeTable.Place) -> TemplateValue? { scope(place.frames).slots[place.slot] }

    func set(_ value: TemplateValue, at place: ScopeTable.Place) { scope(place.frames).slots[place.slot] = value }

    private func scope(_ frames: Int) -> Scope {
        var scope = self
        for _ in 0..<frames {
            guard let parent = scope.parent else { preconditionFailure("a place lies in an existing frame") }
            scope = parent
        }
        return scope
    }
}
