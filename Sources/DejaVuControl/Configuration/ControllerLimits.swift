package import DejaVuCore

/// Every limit of the controller, with defaults for a small machine.
package struct ControllerLimits: Hashable, Codable, Sendable {
    /// Prompt and outputs of one sequence together, at most.
    package var contextLength: Int
    /// For requests that say nothing; cut to what the context leaves.
    package var outputCountDefault: Int = 512
    package var choiceCountMax: Int = 128
    /// Rows of one pass: the token budget.
    package var passRowsMax: Int = 512
    /// Rows of prompts and replays in a pass of a pipeline that also has steps to run, so that a step never waits
    /// behind more than one chunk.
    package var chunkRowsMax: Int = 256
    /// Where prompts are spread over several passes, none gets fewer rows than this.
    package var chunkRowsMin: Int = 8
    /// Rows of one pass of a prompt pipeline. No step waits for it; shorter ones stream sooner.
    package var promptRowsMax: Int = 512
    /// Sequences that make a step in one pass.
    package var microbatchSequencesMax: Int = 256
    /// Passes in flight beyond one for each stage. Pays where the controller's loop is long against a step.
    package var passesExtra: Int = 0
    /// Sequences that hold cells at one time, in each pipeline.
    package var sequencesMax: Int = 256
    /// Cells per layer and stage, at most, whatever the memory.
    package var cellsMax: Int = 1 << 24
    package var workersMax: Int = 256
    package var queueRequestsMax: Int = 1024
    /// Positions that the queued requests would reserve.
    package var queueTokensMax: Int = 4 << 20

    /// The machine looks at its clock this often.
    package var tickInterval: TimeSpan = .milliseconds(100)
    /// A worker that was not heard of for so long is dead.
    package var silenceMax: TimeSpan = .milliseconds(500)
    /// A worker with work that makes no progress for the greater of this and `hangFactor` times its longest recent pass
    /// is hung.
    package var hangMin: TimeSpan = .seconds(2)
    package var hangFactor: Int = 10
    /// A prompt whose rows do not arrive at its token stages for so long is reported as stalled.
    package var stallMin: TimeSpan = .seconds(2)
    /// Loading a stage takes at most this.
    package var loadMax: TimeSpan = .seconds(300)
    /// An idle pipeline runs a one-token probe this often.
    package var probeInterval: TimeSpan = .seconds(10)
    /// A token that crossed all stages longer ago than this says nothing about now.
    package var readyWindow: TimeSpan = .seconds(15)
    /// How long a worker that could not load its stage rests before the next try; doubles up to `restMax`.
    package var restMin: TimeSpan = .seconds(10)
    package var restMax: TimeSpan = .seconds(600)
    /// A sequence ends when so many workers in a row were lost in passes that contain it.
    package var strikesMax: Int = 3
    /// Epochs that a link between two living workers may cost in a row before the receiving one is given up.
    package var linkFailuresMax: Int = 2
    /// How long workers keep the records of sequences that have ended, for a controller after this one.
    package var endedKept: TimeSpan = .zero
    /// The bounds of what a refused client is told to wait.
    package var retryAfterMin: TimeSpan = .seconds(1)
    package var retryAfterMax: TimeSpan = .seconds(60)

    package init(contextLength: Int) {
        self.contextLength = contextLength
    }

    /// - Throws: `.invalidArgument` with the name of the first value that is wrong.
    package func validate() throws(DejaVuError) {
        func require(_ condition: Bool, _ subject: String, _ message: String) throws(DejaVuError) {
            guard condition else { throw DejaVuError(.invalidArgument, message, subject: subject) }
        }
        try require((2...(1 << 24)).contains(contextLength), "contextLength", "the context must be 2 to 2^24 tokens")
        try require(outputCountDefault >= 1, "outputCountDefault", "a request has at least one output")
        try require((1...1024).contains(choiceCountMax), "choiceCountMax", "1 to 1024 choices are possible")
        try require((1...65536).contains(passRowsMax), "passRowsMax", "a pass has 1 to 65536 rows")
        try require(
            (1...passRowsMax).contains(chunkRowsMax), "chunkRowsMax",
            "a chunk (\(chunkRowsMax)) must fit in a pass (\(passRowsMax))")
        try require((1...65536).contains(chunkRowsMin), "chunkRowsMin", "a chunk has 1 to 65536 rows")
        try require((1...65536).contains(promptRowsMax), "promptRowsMax", "a pass has 1 to 65536 rows")
        try require(
            (1...passRowsMax).contains(microbatchSequencesMax), "microbatchSequencesMax",
            "a microbatch (\(microbatchSequencesMax)) must fit in a pass (\(passRowsMax))")
        try require((0...64).contains(passesExtra), "passesExtra", "0 to 64 extra passes are possible")
        try require((1...65536).contains(sequencesMax), "sequencesMax", "1 to 65536 sequences are possible")
        try require(
            cellsMax >= CellRun.granularity, "cellsMax", "fewer than \(CellRun.granularity) cells hold no sequence")
        try require((1...4096).contains(workersMax), "workersMax", "1 to 4096 workers are possible")
        try require((1...(1 << 20)).contains(queueRequestsMax), "queueRequestsMax", "the queue must be 1 to 2^20 long")
        try require(queueTokensMax >= contextLength, "queueTokensMax", "the queue must take one full context")
        try require(tickInterval > .zero, "tickInterval", "the tick must take time")
        try require(silenceMax > tickInterval, "silenceMax", "silence must be longer than a tick")
        try require(hangMin > silenceMax, "hangMin", "a hang must be longer than the longest silence")
        try require((1...1000).contains(hangFactor), "hangFactor", "the hang factor must be 1 to 1000")
        try require(stallMin > .zero, "stallMin", "a stall takes time")
        try require(loadMax > hangMin, "loadMax", "loading must be allowed longer than a hang")
        try require(probeInterval > tickInterval, "probeInterval", "probes must be rarer than ticks")
        try require(readyWindow > probeInterval, "readyWindow", "readiness must last longer than a probe's interval")
        try require(restMin > .zero && restMax >= restMin, "restMax", "the longest rest must not be below the shortest")
        try require(endedKept >= .zero, "endedKept", "nothing is kept for less than no time")
        try require((1...100).contains(strikesMax), "strikesMax", "1 to 100 strikes are possible")
        try require((1...100).contains(linkFailuresMax), "linkFailuresMax", "1 to 100 link failures are possible")
        try require(
            retryAfterMin > .zero && retryAfterMax >= retryAfterMin, "retryAfterMax",
            "the longest wait must not be below the shortest")
    }
}
