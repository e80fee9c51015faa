import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import Testing

@Test func localWorkerBrief_allForms_surviveThePipe() throws {
    for listening in [PeerListening.directory("/tmp/x"), .host(nil), .host("10.0.0.1")] {
        for cpu in [nil, 0, 7] {
            let brief = LocalWorkerBrief(
                key: ClusterKey.random().bytes, controller: .unix(path: "/tmp/c.sock"), name: "local-0",
                peerListening: listening, orphanGrace: .seconds(3), cpu: cpu, allowsInsecure: cpu == 0)
            let read = try LocalWorkerBrief.decoded(from: brief.encoded())
            #expect(read == brief)
            #expect(try read.options().orphanGrace == .seconds(3))
        }
    }
    #expect(throws: DejaVuError.self) { try LocalWorkerBrief.decoded(from: []) }
}
