import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Glibc
import Logging
import Testing

private func withController(
    _ change: (inout ControllerOptions) -> Void = { _ in },
    _ body: (ControllerService, LinkAddress) async throws -> Void
) async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) {
                $0.key = key
                $0.clusterListen = .tcp(host: "127.0.0.1", port: 0)
                change(&$0)
            }, logger: quiet)
        do {
            let address = try #require(service.clusterAddress)
            try await body(service, address)
        } catch {
            Issue.record(error)
        }
        await service.stop()
    }
}

@Test func worker_otherKey_endsAndNamesBothSides() async throws {
    try await withController { _, address in
        let exit = await (try worker(joining: address, name: "stranger", key: .random())).run()
        #expect(exit.code == 1)
        #expect(exit.reason.contains("cluster key mismatch") && exit.reason.contains("stranger"), "\(exit)")
    }
}

@Test func worker_otherModel_endsAndNamesBothModels() async throws {
    try await withController { _, address in
        var other = profile
        other.vocabularyCount = 999
        let exit = await (try worker(joining: address, name: "other", profile: other)).run()
        #expect(exit.code == 1)
        #expect(exit.reason.contains(other.model.digest) && exit.reason.contains(profile.model.digest), "\(exit)")
    }
}

@Test func worker_otherNumericClassThanTheFirst_isRefused() async throws {
    try await withController { service, address in
        let first = try worker(joining: address, name: "first")
        async let firstExit = first.run()
        try await untilReady(service)
        var other = profile
        other.byteScale = 1
        let exit = await (try worker(joining: address, name: "second", profile: other)).run()
        #expect(exit.code == 1)
        #expect(exit.reason.contains("numeric class"), "\(exit)")
        await expectTexts(mixedRequests(5, seed: 8, of: service), from: service)
        first.stop("the test is over")
        #expect(await firstExit == WorkerExit(code: 0, reason: "the test is over"))
    }
}

@Test func worker_nobodyListens_givesUpAfterItsGrace() async throws {
    let exit = await
        (try worker(
            joining: .tcp(host: "127.0.0.1", port: 1), name: "lonely", grace: .milliseconds(300))).run()
    #expect(exit.code == 1)
    #expect(exit.reason.contains("127.0.0.1:1"), "\(exit)")
}

@Test func worker_controllerIsReplaced_joinsTheNextOne() async throws {
    try await withDirectory { directory in
        var starting = options(stages: 1, in: directory) { $0.key = key }
        let first = try await ControllerService.start(starting, logger: quiet)
        let address = first.localAddress
        let process = try worker(joining: address, name: "loyal", peers: .directory(directory))
        async let exit = process.run()
        try await untilReady(first)
        // Without a farewell: as if the controller had been killed.
        await first.abandon()
        starting.clusterListen = nil
        let second = try await ControllerService.start(starting, logger: quiet)
        #expect(second.term > first.term)
        try await untilReady(second)
        await expectTexts(mixedRequests(5, seed: 4, of: second), from: second)
        await second.stop()
        #expect(await exit.code == 0)
    }
}

@Test func controller_hostileBytesOnItsSockets_othersAreServed() async throws {
    try await withController { service, address in
        guard case .tcp(_, let port) = address else { return }
        let process = try worker(joining: address, name: "good")
        async let exit = process.run()
        try await untilReady(service)
        var generator = SeededGenerator(seed: 6)
        for round in 0..<30 {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = in_port_t(UInt16(port).bigEndian)
            name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let connected = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            #expect(connected == 0)
            let bytes = (0..<generator.next(in: 1...3000)).map { _ in
                round % 3 == 0 ? 0 : UInt8(truncatingIfNeeded: generator.next())
            }
            _ = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        }
        await expectTexts(mixedRequests(5, seed: 2, of: service), from: service)
        process.stop("done")
        #expect(await exit.code == 0)
    }
}

@Test func controllerOptions_unsafeListening_isRefusedByName() async throws {
    func refusal(_ change: (inout ControllerOptions) -> Void) async -> String? {
        do {
            let service = try await ControllerService.start(
                options(stages: 1, in: "/tmp/dejavu-never-made", change), logger: quiet)
            await service.stop()
            return nil
        } catch {
            return error.subject
        }
    }
    #expect(await refusal { $0.clusterListen = .tcp(host: "127.0.0.1", port: 0) } == "cluster-key-file")
    #expect(
        await refusal {
            $0.clusterListen = .tcp(host: "0.0.0.0", port: 0)
            $0.key = key
            $0.encryption = .none
        } == "cluster-listen")
}

@Test func worker_certificateMissing_isNotStartedAndNamesTheFile() throws {
    var options = WorkerOptions(
        controller: .tcp(host: "10.1.2.3", port: 1), key: key, name: "far", peerListening: .host(nil))
    options.encryption = .authority(
        LinkCertificateFiles(certificate: "/nonexistent/a.pem", key: "/nonexistent/a.key", authority: "/nonexistent/ca")
    )
    let error = #expect(throws: DejaVuError.self) {
        try WorkerProcess(
            options: options, model: WorkerModel(profile, kvBytesMax: 1 << 30), logger: quiet
        ) { (_, _) throws(DejaVuError) in throw DejaVuError(.unavailable, "never made") }
    }
    #expect(error?.code == .invalidFile && error?.message.contains("/nonexistent/a.pem") == true)
}
