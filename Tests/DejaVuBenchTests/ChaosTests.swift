import DejaVuBench
import DejaVuCore
import Testing

struct ChaosTests {
    @Test func schedule_linesInAnyOrder_areInOrderOfTime() throws {
        let schedule = try ChaosSchedule(
            parsing: """
                # a remark
                4 cut stage:1 bulk for 0.5

                2.5 kill            # the first stage that comes
                3 silence any
                6 drain token
                5 kill prompt:0
                """, faultSeconds: 2)
        #expect(schedule.entries.map(\.atSeconds) == [2.5, 3, 4, 5, 6])
        #expect(schedule.entries.map(\.fault.fault) == [.kill, .silence, .cut, .kill, .drain])
        #expect(schedule.entries.map(\.fault.target) == [.stage, .any, .stage, .prompt, .token])
        #expect(schedule.entries.map(\.fault.stage) == [nil, nil, 1, 0, nil])
        #expect(schedule.entries.map(\.fault.seconds) == [2, 2, 0.5, 2, 2])
        #expect(schedule.entries[2].fault.link == .bulk)
    }

    @Test(arguments: [
        "kill", "x kill", "1 murder", "1 kill nobody", "1 kill bulk", "1 cut for", "1 cut for ever", "-1 kill",
        "1 kill stage:x", "1 kill any:0", "1 kill token:-1",
    ])
    func schedule_lineThatMakesNoSense_isNamed(line: String) {
        let error = #expect(throws: DejaVuError.self) {
            try ChaosSchedule(parsing: "0 kill\n" + line, faultSeconds: 1)
        }
        #expect(error?.subject == "schedule" && error?.message.contains("line 2") == true)
    }

    @Test func configuration_faultsThatNeedAServerMadeForThem_areRefusedWithoutIt() throws {
        var configuration = ChaosConfiguration(url: "http://127.0.0.1:1")
        configuration.faults = [.kill, .corrupt]
        #expect(throws: DejaVuError.self) { try configuration.validate() }
        configuration.linkFaultDirectory = "/nowhere"
        try configuration.validate()
        configuration.schedule = try ChaosSchedule(parsing: "1 poison", faultSeconds: 1)
        #expect(throws: DejaVuError.self) { try configuration.validate() }
        configuration.poisonToken = 5
        try configuration.validate()
    }

    private func pause(_ milliseconds: [Int], from begin: Int, until end: Int) -> StreamPause? {
        let zero = ContinuousClock.now
        return StreamPause(
            of: milliseconds.map { zero + .milliseconds($0) }, from: zero + .milliseconds(begin),
            until: zero + .milliseconds(end))
    }

    private func shown(_ pause: StreamPause?) -> [Int]? {
        pause.map { [Int(($0.seconds * 1000).rounded()), Int(($0.usualSeconds * 1000).rounded())] }
    }

    @Test func pause_tokenOnItsWay_isNotTheEndOfIt() {
        // Killed at 105; the token at 110 had been made before.
        let times = [0, 20, 40, 60, 80, 100, 110, 400, 420, 440]
        #expect(shown(pause(times, from: 105, until: 105)) == [290, 20])
    }

    @Test func pause_gapsBeforeAndLongAfterTheFault_areNotItsOwn() {
        let times = [0, 500, 520, 540, 560, 580, 600, 620, 640, 660, 680, 700, 1500]
        #expect(shown(pause(times, from: 530, until: 550)) == [20, 20])
        // Of a gap that had begun, only what lies behind the fault counts.
        #expect(shown(pause(times, from: 400, until: 400)) == [100, 20])
    }

    @Test func pause_streamThatDidNotRun_hasNone() {
        #expect(pause([100, 120], from: 50, until: 60) == nil)
        #expect(pause([100, 120], from: 130, until: 140) == nil)
        #expect(pause([], from: 1, until: 2) == nil)
    }
}
