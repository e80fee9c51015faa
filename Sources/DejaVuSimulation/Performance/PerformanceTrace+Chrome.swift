import DejaVuCore

extension PerformanceTrace {
    /// The run in the JSON of chrome://tracing and Perfetto: a process for each machine with a thread for what it
    /// computes, bubbles included, and one for each kind of what it moves. Times are in microseconds.
    package var chromeText: String {
        var events: [String] = []
        events.reserveCapacity(intervals.count * 2 + lanes.count * 3)
        let transfers: [Kind] = [.activations, .stream, .swap]
        for (lane, name) in lanes.enumerated() {
            events.append(
                #"{"name":"process_name","ph":"M","pid":\#(lane),"tid":0,"args":{"name":"\#(name)"}}"#)
            for (thread, name) in (["compute"] + transfers.map(\.rawValue)).enumerated() {
                events.append(
                    #"{"name":"thread_name","ph":"M","pid":\#(lane),"tid":\#(thread),"args":{"name":"\#(name)"}}"#)
            }
        }
        var idleFrom = [Instant](repeating: .zero, count: lanes.count)
        for interval in intervals {
            if interval.kind.isCompute {
                if interval.start > idleFrom[interval.lane] {
                    events.append(
                        Self.event("bubble", interval.lane, 0, idleFrom[interval.lane], interval.start, ""))
                }
                idleFrom[interval.lane] = max(idleFrom[interval.lane], interval.end)
            }
            let arguments =
                interval.kind.isCompute
                ? #","args":{"promptRows":\#(interval.chunkRows),"steps":\#(interval.stepCount)}"# : ""
            events.append(
                Self.event(
                    interval.kind.rawValue, interval.lane, (transfers.firstIndex(of: interval.kind) ?? -1) + 1,
                    interval.start, interval.end, arguments))
        }
        return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + events.joined(separator: ",\n") + "\n]}\n"
    }

    private static func event(
        _ name: String, _ lane: Int, _ thread: Int, _ start: Instant, _ end: Instant, _ arguments: String
    ) -> String {
        let from = Double(start.nanoseconds) / 1000
        let length = Double(end.nanoseconds - start.nanoseconds) / 1000
        return #"{"name":"\#(name)","ph":"X","pid":\#(lane),"tid":\#(thread),"ts":\#(from),"dur":\#(length)"#
            + arguments + "}"
    }
}
