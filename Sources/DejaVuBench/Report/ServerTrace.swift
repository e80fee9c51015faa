package import DejaVuCore
import FoundationEssentials
import NIOPosix

/// What a server on this machine wrote down of its workers (`serve --trace-out`) while a load ran.
package struct ServerTrace: Hashable, Sendable {
    package struct Interval: Hashable, Sendable {
        /// In seconds from the load's begin.
        package let start: Double
        package let end: Double
        /// Index into `kinds`.
        package let kind: Int
    }

    /// What one worker's compute thread did.
    package struct Lane: Hashable, Sendable {
        package var name: String
        package var intervals: [Interval] = []
        package var transferCount = 0
        package var transferBytes = 0
        /// Of these, what prompt stages have sent.
        package var fedBytes = 0
    }

    /// The sums of a lane.
    package struct WorkerTime: Hashable, Sendable, Codable {
        package let worker: String
        package let passSeconds: Double
        package let bubbleSeconds: Double
        package let framesReceived: Int
        package let frameBytesReceived: Int
        /// Of these, from prompt stages.
        package let fedBytesReceived: Int
        /// Of the time in which the worker had sequences.
        package var bubbleShare: Double {
            let whole = passSeconds + bubbleSeconds
            return whole > 0 ? bubbleSeconds / whole : 0
        }
    }

    package static let kinds = ["steps", "prompt", "prompt and steps", "bubble"]
    private static let bubble = 3

    /// In the order in which the workers joined.
    package private(set) var lanes: [Lane] = []

    /// The workers that ran passes.
    package var workerTimes: [WorkerTime] {
        lanes.filter { !$0.intervals.isEmpty || $0.transferCount > 0 }.map { lane in
            func sum(_ isBubble: Bool) -> Double {
                lane.intervals.reduce(0) { $0 + (($1.kind == Self.bubble) == isBubble ? $1.end - $1.start : 0) }
            }
            return WorkerTime(
                worker: lane.name, passSeconds: sum(false), bubbleSeconds: sum(true),
                framesReceived: lane.transferCount, frameBytesReceived: lane.transferBytes,
                fedBytesReceived: lane.fedBytes)
        }
    }

    // MARK: Reading

    private struct Event: Decodable {
        struct Arguments: Decodable {
            let name: String?
            let bytes: Int?
        }
        let ph: String
        let name: String
        let pid: Int
        let ts: Double?
        let dur: Double?
        let args: Arguments?
    }

    /// Reads what lies between two instants of the monotonic clock.
    ///
    /// - Throws: `.notFound` or `.invalidFile` naming the file.
    package static func load(path: String, from start: Instant, to end: Instant) async throws -> ServerTrace {
        try await NIOThreadPool.singleton.runIfActive {
            let file = try BlockingFile(path: path)
            var trace = ServerTrace()
            var lanes: [Int: Int] = [:]
            var pending: [UInt8] = []
            while let piece = try file.read(byteCount: 1 << 20) {
                pending += piece
                var first = pending.startIndex
                while let newline = pending[first...].firstIndex(of: UInt8(ascii: "\n")) {
                    try trace.feed(pending[first..<newline], &lanes, start, end, path)
                    first = newline + 1
                }
                pending.removeSubrange(..<first)
            }
            return trace
        }
    }

    private mutating func feed(
        _ line: ArraySlice<UInt8>, _ lanes: inout [Int: Int], _ start: Instant, _ end: Instant, _ path: String
    ) throws {
        // One event a line; the file's brackets stand alone.
        guard line.first == UInt8(ascii: "{") else { return }
        let json = line.last == UInt8(ascii: ",") ? line.dropLast() : line
        guard let event = try? JSONDecoder().decode(Event.self, from: Data(json)) else {
            throw DejaVuError(.invalidFile, "\(path) is no trace of dejavu serve", subject: path)
        }
        if event.ph == "M" {
            guard event.name == "process_name", let name = event.args?.name, event.pid > 0 else { return }
            lanes[event.pid] = self.lanes.count
            return self.lanes.append(Lane(name: name))
        }
        guard let lane = lanes[event.pid], let time = event.ts else { return }
        let from = (time - Double(start.nanoseconds) / 1e3) / 1e6
        let to = from + (event.dur ?? 0) / 1e6
        guard to >= 0, from <= (end - start).seconds else { return }
        if event.ph == "X", let kind = Self.kinds.firstIndex(of: event.name) {
            self.lanes[lane].intervals.append(Interval(start: max(from, 0), end: to, kind: kind))
        } else if event.ph == "b" {
            self.lanes[lane].transferCount += 1
            self.lanes[lane].transferBytes += event.args?.bytes ?? 0
            if event.name == "feed" { self.lanes[lane].fedBytes += event.args?.bytes ?? 0 }
        }
    }
}
