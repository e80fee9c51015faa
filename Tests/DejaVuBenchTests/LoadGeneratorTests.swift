import DejaVuBench
import DejaVuCore
import DejaVuPlot
import Foundation
import NIOHTTP1
import Testing

struct LoadGeneratorTests {
    private func configuration(_ server: FakeServer, _ arrivals: Arrivals, requests: Int) -> LoadConfiguration {
        var configuration = LoadConfiguration(url: server.url + "/v1/", arrivals: arrivals)
        configuration.requestCount = requests
        configuration.promptTokens = .uniform(5, 40)
        configuration.outputTokens = .fixed(6)
        configuration.warmUpCount = 0
        return configuration
    }

    @Test func closedLoop_wellBehavedServer_countsEveryToken() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 6) }
        let report = try await LoadGenerator(configuration(server, .concurrency(3), requests: 20)).run()
        #expect(report.requestCount == 20 && report.completedCount == 20 && report.failures.isEmpty)
        #expect(report.samples.map(\.index) == Array(0..<20))
        #expect(report.samples.allSatisfy { $0.outputTokens == 6 && $0.promptTokens == 7 })
        #expect(report.samples.allSatisfy { $0.gapsMicroseconds.count == 5 && $0.firstToken != nil })
        #expect(report.interToken?.count == 100 && report.timeToFirstToken?.count == 20)
        #expect(report.lengthMismatchCount == 0 && report.promptsAreExact)
        #expect(report.configuration.model == "fake" && report.configuration.contextTokens == 512)
        #expect(server.seen.inFlightMax <= 3)
        try await server.stop()
    }

    @Test func tokenPrompts_sentBodies_haveExactlyTheWantedLength() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 6) }
        let report = try await LoadGenerator(configuration(server, .concurrency(1), requests: 10)).run()
        struct Body: Decodable {
            let prompt: [Int]
            let maxTokens: Int
            let ignoreEos: Bool
            let stream: Bool
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let bodies = try server.seen.bodies.map { try decoder.decode(Body.self, from: Data($0.utf8)) }
        #expect(bodies.map(\.prompt.count) == report.samples.map(\.promptTokensWanted))
        #expect(Set(bodies.map(\.prompt)).count == 10)
        #expect(bodies.allSatisfy { $0.maxTokens == 6 && $0.ignoreEos && $0.stream })
        try await server.stop()
    }

    @Test func sameSeed_twoRuns_sendTheSameBodies() async throws {
        var bodies: [[String]] = []
        for _ in 0..<2 {
            let server = try await FakeServer.start { _, _ in .stream(tokens: 6) }
            _ = try await LoadGenerator(configuration(server, .concurrency(1), requests: 5)).run()
            bodies.append(server.seen.bodies)
            try await server.stop()
        }
        #expect(bodies[0] == bodies[1])
    }

    @Test func chat_serverWithTokenize_messageFillsTheTemplate() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 6, isChat: true) }
        var configuration = configuration(server, .concurrency(2), requests: 8)
        configuration.endpoint = .chat
        let report = try await LoadGenerator(configuration).run()
        #expect(report.completedCount == 8 && report.promptsAreExact)
        // The first chunk names the role and has no text: it is no token.
        #expect(report.samples.allSatisfy { $0.gapsMicroseconds.count == 5 })
        struct Body: Decodable {
            struct Message: Decodable { let content: String }
            let messages: [Message]
        }
        let words = try server.seen.bodies.map { body in
            try JSONDecoder().decode(Body.self, from: Data(body.utf8)).messages[0].content.split(separator: " ").count
        }
        #expect(words.sorted() == report.samples.map { max(1, $0.promptTokensWanted - 5) }.sorted())
        try await server.stop()
    }

    @Test func noTokenize_anyServer_lengthsAreMarkedAsEstimated() async throws {
        let server = try await FakeServer.start(hasTokenize: false) { _, _ in .stream(tokens: 6) }
        let report = try await LoadGenerator(configuration(server, .concurrency(1), requests: 3)).run()
        #expect(report.completedCount == 3 && !report.promptsAreExact)
        #expect(report.text().contains("estimated"))
        try await server.stop()
    }

    @Test func noUsage_streamedChunks_areCountedInstead() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 4, usage: false) }
        let report = try await LoadGenerator(configuration(server, .concurrency(1), requests: 2)).run()
        #expect(report.samples.allSatisfy { $0.outputTokens == 4 })
        #expect(report.lengthMismatchCount == 2)
        try await server.stop()
    }

    @Test func failures_ofEveryKind_areCountedByKind() async throws {
        let server = try await FakeServer.start { index, _ in
            switch index {
            case 0: FakeServer.Script(status: .serviceUnavailable, pieces: ["{\"error\":\"not now\"}"])
            case 1: FakeServer.Script(pieces: ["data: {\"choices\":[{\"text\":\"a\"}]}\n\n"], ending: .disconnect)
            case 2: FakeServer.Script(pieces: ["data: {\"choices\":[{\"text\":\"a\"}]}\n\n"])
            case 3: FakeServer.Script(pieces: ["data: {\"choices\":[\n\n", "data: [DONE]\n\n"])
            case 4: FakeServer.Script(pieces: ["data: {\"error\":{\"message\":\"no\"}}\n\n", "data: [DONE]\n\n"])
            case 5: FakeServer.Script(status: .tooManyRequests, pieces: ["{}"])
            default: .stream(tokens: 6)
            }
        }
        let report = try await LoadGenerator(configuration(server, .concurrency(1), requests: 8)).run()
        let kinds = report.failures.map(\.kind)
        #expect(
            kinds == [
                "http 503", "disconnected", "stream ended early", "malformed stream", "error event", "http 429",
            ])
        #expect(report.failures.allSatisfy { $0.count == 1 })
        #expect(report.failures.first?.detail?.contains("not now") == true)
        #expect(report.completedCount == 2 && report.failedCount == 6)
        // What failed is in no latency and no rate.
        #expect(report.endToEnd?.count == 2 && report.interToken?.count == 10)
        try await server.stop()
    }

    @Test func serverHangs_afterTimeout_isATimeout() async throws {
        let server = try await FakeServer.start { _, _ in FakeServer.Script(ending: .hang) }
        var configuration = configuration(server, .concurrency(2), requests: 2)
        configuration.requestTimeoutSeconds = 0.2
        let report = try await LoadGenerator(configuration).run()
        #expect(report.failures.map(\.kind) == ["timeout"] && report.failedCount == 2)
        #expect(report.timeToFirstToken == nil)
        try await server.stop()
    }

    @Test func closedLoop_serverRefusesAll_stopsEarly() async throws {
        let server = try await FakeServer.start { _, _ in FakeServer.Script(status: .internalServerError) }
        let report = try await LoadGenerator(configuration(server, .concurrency(4), requests: 100_000)).run()
        #expect(report.stoppedEarly != nil && report.requestCount < 1000 && report.completedCount == 0)
        try await server.stop()
    }

    @Test func openLoop_slowServer_sendsAllTheSame() async throws {
        let server = try await FakeServer.start { index, _ in
            index < 5 ? FakeServer.Script(ending: .hang) : .stream(tokens: 6)
        }
        var configuration = configuration(server, .poisson(rate: 400), requests: 30)
        configuration.requestTimeoutSeconds = 2
        let report = try await LoadGenerator(configuration).run()
        #expect(report.completedCount == 25 && report.failures.map(\.count) == [5])
        #expect(report.lateness?.count == 30)
        // Due times are the plan's, whatever the server does.
        var source = RequestSource(configuration, contextTokens: 512)
        #expect(report.samples.map(\.due) == (0..<30).map { _ in source.next()?.offset?.seconds ?? -1 })
        try await server.stop()
    }

    @Test func openLoop_inFlightLimit_failsWhatGoesBeyond() async throws {
        let server = try await FakeServer.start { _, _ in FakeServer.Script(ending: .hang) }
        var configuration = configuration(server, .poisson(rate: 1000), requests: 20)
        configuration.requestTimeoutSeconds = 1.5
        configuration.inFlightMax = 3
        let report = try await LoadGenerator(configuration).run()
        #expect(server.seen.inFlightMax <= 3 && report.failedCount == 20)
        #expect(report.failures.contains { $0.kind == "in-flight limit" && $0.count >= 1 })
        try await server.stop()
    }

    @Test func warmUp_requests_areNotMeasured() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 6) }
        var configuration = configuration(server, .concurrency(2), requests: 4)
        configuration.warmUpCount = 3
        let report = try await LoadGenerator(configuration).run()
        #expect(report.requestCount == 4 && server.seen.bodies.count == 7)
        #expect(Set(server.seen.bodies).count == 7)
        try await server.stop()
    }

    @Test func noServer_beforeTheLoad_throws() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 1) }
        let configuration = configuration(server, .concurrency(1), requests: 1)
        try await server.stop()
        await #expect { _ = try await LoadGenerator(configuration).run() } throws: {
            ($0 as? DejaVuError)?.code == .network
        }
    }

    @Test func cancelledTask_hangingServer_endsWithCancellation() async throws {
        let server = try await FakeServer.start { _, _ in FakeServer.Script(ending: .hang) }
        let configuration = configuration(server, .concurrency(2), requests: 5)
        let task = Task { try await LoadGenerator(configuration).run() }
        while server.seen.bodies.count < 2 { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        try await server.stop()
    }

    @Test func report_jsonAndPictures_holdAllSamplesAndNoKey() async throws {
        let server = try await FakeServer.start { _, _ in .stream(tokens: 6) }
        var configuration = configuration(server, .concurrency(2), requests: 6)
        configuration.apiKey = "sk-secret"
        configuration.objectives = Objectives(endToEnd: 1e-9)
        let report = try await LoadGenerator(configuration).run()
        let json = try report.json()
        #expect(!json.contains("sk-secret") && !report.text().contains("sk-secret"))
        let decoded = try JSONDecoder().decode(LoadReport.self, from: Data(json.utf8))
        #expect(decoded.samples.map(\.gapsMicroseconds) == report.samples.map(\.gapsMicroseconds))
        #expect(decoded.configuration.promptTokens == configuration.promptTokens)
        #expect(report.goodput == 0)
        let svg = report.figure().svg()
        #expect(svg.contains("Time to first token") && svg.hasSuffix("</svg>\n"))
        try await server.stop()
    }

    @Test func configuration_outOfRange_namesTheSetting() {
        func subject(_ change: (inout LoadConfiguration) -> Void) -> String? {
            var configuration = LoadConfiguration(url: "http://h", arrivals: .concurrency(1))
            configuration.requestCount = 1
            change(&configuration)
            do {
                try configuration.validate()
                return nil
            } catch {
                return (error as? DejaVuError)?.subject
            }
        }
        #expect(subject { _ in } == nil)
        #expect(subject { $0.url = "ftp://x" } == "url")
        #expect(subject { $0.arrivals = .poisson(rate: -1) } == "rate")
        #expect(subject { $0.arrivals = .concurrency(0) } == "concurrency")
        #expect(subject { $0.arrivals = .trace(path: "t", speed: .infinity) } == "trace-speed")
        #expect(subject { $0.requestCount = nil } == "requests")
        #expect(subject { $0.requestTimeoutSeconds = .nan } == "timeout")
    }
}
