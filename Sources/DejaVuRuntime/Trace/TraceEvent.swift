import DejaVuControl
import DejaVuCore

/// One line of a trace, in the form that Chrome and Perfetto read: times in microseconds of this machine's monotonic
/// clock, a process for each worker.
struct TraceEvent {
    let text: String

    private static let computeThread = 1

    /// What a trace knows of the cluster besides its records.
    struct Context {
        var names: [Incarnation: String] = [:]
        /// By pipeline.
        var roles: [PipelineRole] = []

        func role(of pipeline: PipelineID) -> String {
            Int(exactly: pipeline.rawValue).flatMap { roles.indices.contains($0) ? roles[$0].rawValue : nil } ?? ""
        }
    }

    /// - Parameter offset: what to add to the record's times.
    init(_ record: TraceRecord, of worker: WorkerID, offset: TimeSpan, context: Context, number: UInt64) {
        let process = "\"pid\":\(worker.rawValue),\"tid\":\(Self.computeThread)"
        switch record {
        case .pass(let pass):
            let name = pass.chunks == 0 ? "steps" : pass.steps == 0 ? "prompt" : "prompt and steps"
            text =
                "{\"ph\":\"X\",\"cat\":\"pass\",\"name\":\"\(name)\",\(process),"
                + Self.interval(pass.start + offset, pass.span)
                + ",\"args\":{\"pass\":\(pass.pass.rawValue),\"pipeline\":\(pass.pipeline.rawValue),"
                + "\"role\":\"\(context.role(of: pass.pipeline))\","
                + "\"stage\":\(pass.stageIndex),\"epoch\":\(pass.epoch.rawValue),\"rows\":\(pass.rows),"
                + "\"steps\":\(pass.steps),\"chunks\":\(pass.chunks)}}"
        case .bubble(let start, let span):
            text =
                "{\"ph\":\"X\",\"cat\":\"bubble\",\"name\":\"bubble\",\"cname\":\"grey\",\(process),"
                + Self.interval(start + offset, span) + "}"
        case .transfer(let transfer):
            // Frames overlap, so each is a beginning and an end under a number of its own.
            let isOwn = transfer.kind == .fetch
            let common =
                "\"cat\":\"\(isOwn ? "swap" : "transfer")\",\"name\":\"\(transfer.kind)\",\(process),"
                + "\"id\":\(number),\"ts\":"
            let from = isOwn ? "memory below" : context.names[transfer.writer] ?? "\(transfer.writer.rawValue)"
            let start = transfer.start + offset
            text =
                "{\"ph\":\"b\",\(common)\(Self.microseconds(start.nanoseconds)),"
                + "\"args\":{\"from\":\(Self.quoted(from)),\"sequence\":\(transfer.sequence.rawValue),"
                + "\"layers\":\"\(transfer.layers)\","
                + "\"positions\":\"\(transfer.positions)\",\"bytes\":\(transfer.bytes)}},\n"
                + "{\"ph\":\"e\",\(common)\(Self.microseconds((start + transfer.span).nanoseconds))}"
        }
    }

    /// A moment that all workers have to do with.
    init(moment: String, at now: Instant) {
        text =
            "{\"ph\":\"i\",\"s\":\"g\",\"cat\":\"cluster\",\"name\":\(Self.quoted(moment)),\"pid\":0,\"tid\":0,"
            + "\"ts\":\(Self.microseconds(now.nanoseconds))}"
    }

    init(nameOf process: UInt64, _ name: String) {
        text =
            "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":\(process),"
            + "\"args\":{\"name\":\(Self.quoted(name))}},\n"
            + "{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":\(process),"
            + "\"args\":{\"sort_index\":\(process)}},\n"
            + "{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":\(process),\"tid\":\(Self.computeThread),"
            + "\"args\":{\"name\":\"compute\"}}"
    }

    private static func interval(_ start: Instant, _ span: TimeSpan) -> String {
        "\"ts\":\(microseconds(start.nanoseconds)),\"dur\":\(microseconds(max(span, .zero).nanoseconds))"
    }

    /// Exact, as a decimal number.
    private static func microseconds(_ nanoseconds: Int64) -> String {
        let (whole, part) = max(nanoseconds, 0).quotientAndRemainder(dividingBy: 1000)
        let digits = String(part)
        return "\(whole)." + String(repeating: "0", count: 3 - digits.count) + digits
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
