import DejaVuControl
import Foundation

/// A cluster of two workers and two stages, ready.
func fakeStatus(ready: Bool = true, reason: String? = nil, draining: Bool = false) -> ClusterStatus {
    let text = """
        {"ready": \(ready), "draining": \(draining), "term": {"number": 3, "nonce": 9},
         \(reason.map { "\"reason\": \"\($0)\"," } ?? "")
         "workers": [
          {"id": 1, "name": "local-0", "processID": 4711, "state": "serving", "pipeline": 1, "stageIndex": 0,
           "silence": 40000000, "kvBytesMax": 64000000, "replicas": []},
          {"id": 2, "name": "local-1", "processID": 4712, "state": "serving", "pipeline": 1, "stageIndex": 1,
           "silence": 60000000, "kvBytesMax": 64000000, "replicas": []},
          {"id": 3, "name": "local-2", "processID": 4713, "state": "standby", "silence": 20000000,
           "kvBytesMax": 64000000, "replicas": [{"pipeline": 1, "stageIndex": 0, "ready": true}]}],
         "pipelines": [
          {"id": 1, "role": "colocated", "epoch": 2,
           "state": "serving", "sequencesRunning": 3, "cellsTotal": 4096, "cellsUsed": 1024,
           "kvBytesTotal": 94371840, "kvBytesUsed": 23592960,
           "microbatches": [{"pass": 77, "sequences": 2, "rows": 2, "stageIndex": 0},
                            {"pass": 78, "sequences": 1, "rows": 128, "stageIndex": 1}],
           "stages": [
            {"index": 0, "layers": {"first": 0, "end": 15}, "worker": 1, "busyShare": 0.75, "passes": 1200,
             "computed": 5000000000, "kvBytesTotal": 47185920, "kvBytesUsed": 11796480,
             "holder": 3, "replicaReady": true, "replicaLag": 2},
            {"index": 1, "layers": {"first": 15, "end": 30}, "worker": 2, "busyShare": 0.5, "passes": 1190,
             "computed": 6000000000, "kvBytesTotal": 47185920, "kvBytesUsed": 11796480,
             "replicaReady": false, "replicaLag": 700}]}],
         "queue": {"requests": 1, "requestsMax": 256, "tokens": 300, "tokensMax": 100000},
         "sequencesRunning": 3, "sequencesParked": 0, "replicates": true, "sequencesAtRisk": 3, "positionsAtRisk": 700,
         "lastRecovery": {"pipeline": 1, "reason": "the process ended", "at": 5000000000, "detect": 40000000,
          "place": 0, "restore": 3000000, "runAgain": 12000000, "firstToken": 14000000, "positionsRunAgain": 3,
          "stagesByReplica": 1},
         "counters": {"requestsSubmitted": 10, "requestsRefused": 1, "requestsAdmitted": 8, "requestsEnded": 5,
          "tokensEmitted": 4321, "promptRows": 900, "stepRows": 4321, "replayRows": 0,
          "positionsRunAgain": 3, "passesSent": 1300,
          "passesCompleted": 1190, "passesVoided": 2, "messagesStale": 0, "workersJoined": 3, "workersRefused": 0,
          "workersLost": 1, "recoveries": 1, "takeovers": 1, "moves": 4, "workersLeft": 2,
          "workersAdopted": 2, "requestsRestored": 1, "replicasHeld": 2,
          "sequencesParked": 0, "sequencesPoisoned": 0, "rewriteMismatches": 2, "probes": 4}}
        """
    do {
        return try JSONDecoder().decode(ClusterStatus.self, from: Data(text.utf8))
    } catch {
        preconditionFailure("the fake status does not decode: \(error)")
    }
}
