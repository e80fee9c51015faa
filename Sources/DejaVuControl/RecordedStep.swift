package import DejaVuCore

/// One event of a controller's life and what it answered: a line of a log that `dejavu replay` runs again.
package struct RecordedStep: Hashable, Codable, Sendable {
    package let at: Instant
    package let event: ControllerEvent
    package let actions: [ControllerAction]

    package init(at: Instant, event: ControllerEvent, actions: [ControllerAction]) {
        self.at = at
        self.event = event
        self.actions = actions
    }

    /// Runs a log through a new machine.
    ///
    /// - Returns: the index of the first step whose actions differ, and what the machine answers now; nil if none does.
    /// - Throws: `.invalidArgument` if the configuration contradicts itself.
    package static func firstDifference(
        in log: [RecordedStep], configuration: ControllerConfiguration, term: Term
    ) throws(DejaVuError) -> (index: Int, actions: [ControllerAction])? {
        var machine = try ControllerMachine(configuration: configuration, term: term)
        for (index, step) in log.enumerated() {
            let actions = machine.handle(step.event, at: step.at)
            if actions != step.actions { return (index, actions) }
        }
        return nil
    }
}
