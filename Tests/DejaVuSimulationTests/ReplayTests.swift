import DejaVuControl
import DejaVuCore
import DejaVuSimulation
import Foundation
import Testing

/// "Events and actions are Codable: `dejavu replay LOG` runs a recorded log through the machine."
@Test(arguments: [UInt64(4), 7, 31])
func replay_logOfAStormyRun_givesTheSameActions(seed: UInt64) throws {
    let scenario = Scenario.drawn(seed: seed, weather: .stormy)
    var world = try World(scenario, keepsLog: true)
    world.run()
    #expect(world.violations.isEmpty)
    let log = try JSONDecoder().decode([RecordedStep].self, from: JSONEncoder().encode(world.log))
    #expect(log.count > 100 && log == world.log)
    let difference = try RecordedStep.firstDifference(
        in: log, configuration: scenario.configuration, term: world.controller.term)
    #expect(difference == nil)
    var changed = log
    let submit = try #require(changed.firstIndex { if case .submit = $0.event { true } else { false } })
    changed.remove(at: submit)
    let found = try RecordedStep.firstDifference(
        in: changed, configuration: scenario.configuration, term: world.controller.term)
    #expect(found != nil, "a log that lacks an event is noticed")
}

/// "Same seed, same run."
@Test func world_sameSeed_isTheSameRun() throws {
    let scenario = Scenario.drawn(seed: 12, weather: .stormy)
    var first = try World(scenario, tellsStory: true, keepsLog: true)
    var second = try World(scenario, tellsStory: true, keepsLog: true)
    first.run()
    second.run()
    #expect(first.log == second.log && first.story == second.story && first.eventCount == second.eventCount)
}
