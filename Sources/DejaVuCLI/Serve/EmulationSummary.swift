import DejaVuCore
import Foundation

/// What an emulated run says of itself at its end: whether its times mean anything.
struct EmulationSummary {
    let usage: EmulationUsage
    init(_ usage: EmulationUsage) { self.usage = usage }

    var text: String {
        func number(_ value: Double, _ format: String) -> String { String(format: format, value) }
        let late = number(usage.lateShare * 100, "%.2f%%")
        let processor = number(usage.processorShare * 100, "%.1f%%")
        let verdict = usage.isValid ? "valid" : "INVALID, the figures of this run mean nothing"
        var lines = [
            "emulation: \(usage.passes) passes in \(number(usage.emulated.seconds, "%.1f")) s of device time",
            "emulation: \(late) of them ended more than 2% late (at most 1%), CPU use \(processor) (at most 80%)",
        ]
        if usage.rewriteMismatches > 0 {
            lines.append("emulation: \(usage.rewriteMismatches) rows were computed again with another result")
        }
        lines.append("emulation: \(verdict)")
        return lines.joined(separator: "\n") + "\n"
    }
}
