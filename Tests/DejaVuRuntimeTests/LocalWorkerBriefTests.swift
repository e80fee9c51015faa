import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import Testing

private func encryption(_ cpu: Int?) -> LinkEncryption {
    switch cpu {
    case nil: .ownCertificates
    case 0: .none
    default: .authority(LinkCertificateFiles(certificate: "/a", key: "/b", authority: "/c"))
    }
}

@Test func localWorkerBrief_allForms_surviveThePipe() throws {
    for listening in [PeerListening.directory("/tmp/x"), .host(nil), .host("10.0.0.1")] {
        for cpu in [nil, 0, 7] {
            let brief = LocalWorkerBrief(
                key: ClusterKey.random().bytes, controller: .unix(path: "/tmp/c.sock"), name: "local-0",
                peerListening: listening, orphanGrace: .seconds(3), cpu: cpu, encryption: encryption(cpu))
            let read = try LocalWorkerBrief.decoded(from: brief.encoded())
            #expect(read == brief)
            #expect(try read.options().orphanGrace == .seconds(3))
        }
    }
    #expect(throws: DejaVuError.self) { try LocalWorkerBrief.decoded(from: []) }
}
