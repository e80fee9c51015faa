import DejaVuBench
import DejaVuCore
import Foundation
import Testing

struct ServerTraceTests {
    private static let lines = [
        "[", #"{"ph":"M","name":"process_name","pid":0,"args":{"name":"cluster"}},"#,
        #"{"ph":"M","name":"process_name","pid":3,"args":{"name":"local-0"}},"#,
        #"{"ph":"M","name":"process_sort_index","pid":3,"args":{"sort_index":3}},"#,
        #"{"ph":"i","s":"g","cat":"cluster","name":"joined","pid":0,"tid":0,"ts":1.000},"#,
        #"{"ph":"X","cat":"pass","name":"steps","pid":3,"tid":1,"ts":900000.000,"dur":50000.000},"#,
        #"{"ph":"X","cat":"pass","name":"prompt","pid":3,"tid":1,"ts":1000000.000,"dur":300000.000},"#,
        #"{"ph":"X","cat":"bubble","name":"bubble","pid":3,"tid":1,"ts":1300000.000,"dur":100000.000},"#,
        #"{"ph":"b","cat":"transfer","name":"replica","pid":3,"tid":1,"id":1,"ts":1400000.000,"args":{"bytes":50}},"#,
        #"{"ph":"e","cat":"transfer","name":"replica","pid":3,"tid":1,"id":1,"ts":1500000.000},"#,
        #"{"ph":"b","cat":"transfer","name":"feed","pid":3,"tid":1,"id":2,"ts":1500000.000,"args":{"bytes":7}},"#,
        #"{"ph":"e","cat":"transfer","name":"feed","pid":3,"tid":1,"id":2,"ts":1600000.000},"#,
        #"{"ph":"X","cat":"pass","name":"steps","pid":3,"tid":1,"ts":9000000.000,"dur":1.000}"#, "]",
    ]

    private func load(_ lines: [String]) async throws -> ServerTrace {
        let path = NSTemporaryDirectory() + "trace-\(UUID().uuidString).json"
        try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: false, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await ServerTrace.load(
            path: path, from: Instant(nanoseconds: 1_000_000_000), to: Instant(nanoseconds: 2_000_000_000))
    }

    @Test func load_eventsOfTheRun_addUpByWorker() async throws {
        let trace = try await load(Self.lines)
        let time = try #require(trace.workerTimes.first)
        #expect(trace.workerTimes.count == 1 && time.worker == "local-0")
        #expect(abs(time.passSeconds - 0.3) < 1e-9 && abs(time.bubbleSeconds - 0.1) < 1e-9)
        #expect(abs(time.bubbleShare - 0.25) < 1e-9)
        #expect(time.framesReceived == 2 && time.frameBytesReceived == 57 && time.fedBytesReceived == 7)
        #expect(trace.panels.count == 2)
    }

    @Test func load_fileOfSomethingElse_isRefusedByName() async throws {
        let error = await #expect(throws: DejaVuError.self) { try await load(["[", "{\"a\":1},", "]"]) }
        #expect(error?.code == .invalidFile)
        #expect(try await load(["[", "]"]).panels.isEmpty)
    }
}
