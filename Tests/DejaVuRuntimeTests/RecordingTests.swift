import DejaVuControl
import DejaVuCore
import DejaVuRuntime
import FoundationEssentials
import Glibc
import Testing

@Test func recording_ofARun_replaysToTheSameActions() async throws {
    try await withDirectory { directory in
        mkdir(directory, 0o700)
        let path = directory + "/record"
        let service = try await ControllerService.start(
            options(stages: 2, in: directory) {
                $0.key = key
                $0.recordPath = path
            }, logger: quiet)
        let address = service.localAddress
        let workers = try (0..<2).map {
            try worker(joining: address, name: "w\($0)", peers: .directory(directory))
        }
        await withTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { _ = await worker.run() } }
            do {
                try await untilReady(service)
                await expectTexts(mixedRequests(10, seed: 21, of: service), from: service)
            } catch {
                Issue.record(error)
            }
            await service.stop()
        }
        let lines = try Data(contentsOf: URL(filePath: path)).split(separator: 10)
        let decoder = JSONDecoder()
        let header = try decoder.decode(RecordingHeader.self, from: try #require(lines.first))
        let steps = try lines.dropFirst().map { try decoder.decode(RecordedStep.self, from: $0) }
        #expect(steps.count > 100)
        let difference = try RecordedStep.firstDifference(
            in: steps, configuration: header.configuration, term: header.term)
        #expect(difference == nil)
        var status = stat()
        stat(path, &status)
        #expect(status.st_mode & 0o077 == 0)
    }
}
