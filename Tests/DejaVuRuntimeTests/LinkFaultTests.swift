import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Glibc
import Testing

/// Stages that take long enough for a fault to come in mid-answer.
private let slow: ModelProfile = {
    var slow = profile
    slow.passSeconds = 0.003
    return slow
}()

/// What `dejavu bench chaos` tells a worker, which is this process here.
private func order(_ words: String, in directory: String) throws {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "\(directory)/\(getpid()).sock".utf8) }
    let mouth = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(mouth) }
    let bytes = [UInt8](words.utf8)
    let sent = withUnsafePointer(to: address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            sendto(mouth, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    try #require(sent == bytes.count, "nobody hears orders: \(String(cString: strerror(errno)))")
}

/// The links of a stage's replica holder and then its own life, all by relays: no text changes.
@Test func linkFaults_ofEveryLinkOfAHolder_changeNoText() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) { $0.key = key }, logger: quiet)
        let meter = EmulationMeter()
        func join(_ name: String, faults: String? = nil) throws -> WorkerProcess {
            try worker(
                joining: service.localAddress, name: name, peers: .directory(directory), profile: slow, meter: meter,
                faultDirectory: faults)
        }
        let stage = try join("stage")
        let holder = try join("holder", faults: directory)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { _ = await stage.run() }
            do {
                try await untilReady(service)
                group.addTask { _ = await holder.run() }
                try await wait("there is a replica") { await service.status().pipelines[0].stages[0].replicaReady }
                let requests = mixedRequests(12, seed: 77, outputs: 200...400, of: service)
                group.addTask { await expectTexts(requests, from: service) }
                for (index, words) in ["corrupt bulk", "silence bulk 0.1", "cut bulk 0.1"].enumerated() {
                    let emitted = await service.status().counters.tokensEmitted
                    try await wait("tokens come") { await service.status().counters.tokensEmitted > emitted + 200 }
                    try order(words, in: directory)
                    #expect(await service.status().counters.workersLost == 0, "\(index)")
                }
                try order("cut controller 0.1", in: directory)
                try await wait("the worker is lost and comes back") {
                    let status = await service.status()
                    return status.counters.workersLost == 1 && status.workers.count == 2
                }
                try await wait("it has the replica again") {
                    await service.status().pipelines[0].stages[0].replicaReady
                }
                try await wait("all have ended") { await service.status().sequencesRunning == 0 }
            } catch { Issue.record(error) }
            await service.stop()
        }
        #expect(meter.usage.rewriteMismatches == 0)
    }
}
