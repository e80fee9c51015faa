import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import Testing

private let encryptions: [LinkEncryption] = [
    .ownCertificates, .none, .authority(LinkCertificateFiles(certificate: "/a", key: "/b", authority: "/c")),
]

@Test func localWorkerBrief_allForms_surviveThePipe() throws {
    for listening in [PeerListening.directory("/tmp/x"), .host(nil), .host("10.0.0.1")] {
        for encryption in encryptions {
            let brief = LocalWorkerBrief(
                key: ClusterKey.random().bytes, controller: .unix(path: "/tmp/c.sock"), name: "local-0",
                peerListening: listening, orphanGrace: .seconds(3), encryption: encryption)
            let read = try LocalWorkerBrief.decoded(from: brief.encoded())
            #expect(read == brief)
            #expect(try read.options().orphanGrace == .seconds(3))
        }
    }
    #expect(throws: DejaVuError.self) { try LocalWorkerBrief.decoded(from: []) }
}
