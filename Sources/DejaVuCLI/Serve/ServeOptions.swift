import ArgumentParser
import DejaVuControl
import DejaVuCore
import DejaVuLib

/// Whether workers hold copies of each other's KV.
enum Replication: String, CaseIterable, ExpressibleByArgument {
    case auto, on, off
}

extension Swapping: ExpressibleByArgument {}

/// The shape of what is served: pipelines, stages, standbys.
struct TopologyOptions: ParsableArguments {
    @Option(
        name: .customLong("stages"),
        help: ArgumentHelp(
            "Cut the layers into this many stages, one worker each; 1 if not given.", valueName: "count"))
    var colocatedStages: Int?
    @Option(
        help: ArgumentHelp(
            """
            Run prompts on workers of their own, in so many stages; with --token-stages instead of --stages. Steps \
            then never wait for a prompt. Any two numbers go together: KV is cut anew on the way, while the rest of \
            the prompt is computed.
            """,
            valueName: "count"))
    var promptStages: Int?
    @Option(
        help: ArgumentHelp("The stages that make the tokens where prompts have their own.", valueName: "count"))
    var tokenStages: Int?
    @Option(
        help: ArgumentHelp(
            """
            Shorter prompts are run by the token stages themselves; the default comes from the profile where one is \
            known, else it is one chunk of 256.
            """,
            valueName: "tokens"))
    var disaggregateAbove: Int?
    @Option(help: ArgumentHelp("Pipelines that share the load, each with all layers.", valueName: "count"))
    var pipelines = 1
    @Option(help: ArgumentHelp("Workers that wait to take over from one that dies.", valueName: "count"))
    var standbys = 1
    @Option(
        help: ArgumentHelp(
            """
            Copy the stages' KV to standbys, or without any to each other, so that whoever takes over goes on where \
            the other stopped: `auto` as far as there is memory, `on` refuses to start where there can be none, \
            `off` never.
            """,
            valueName: "auto|on|off"))
    var replicate: Replication = .auto
    @Option(
        help: ArgumentHelp(
            """
            Let sequences take turns on the devices where --host-memory or --swap-dir holds more than \
            --device-memory: `auto` as long as measured times say that it pays, `on` always, `off` never.
            """,
            valueName: "auto|on|off"))
    var swap: Swapping = .auto
    @Option(help: ArgumentHelp("Workers that this command starts itself; the others join.", valueName: "count"))
    var localWorkers: Int?

    /// Those of each pipeline that makes tokens.
    var stages: Int { tokenStages ?? colocatedStages ?? 1 }
    /// Workers with a stage.
    var stageWorkers: Int { stages * pipelines + (promptStages ?? 0) }
    var workerCount: Int { stageWorkers + standbys }
    /// The fewest stages into which any pipeline cuts the layers: a worker may get one of these.
    var fewestStages: Int { min(stages, promptStages ?? stages) }

    var pipelineTopology: PipelineTopology {
        PipelineTopology(stageCount: stages, pipelineCount: pipelines, promptStageCount: promptStages ?? 0)
    }

    func check() throws {
        if (promptStages == nil) != (tokenStages == nil) {
            throw ValidationError("--prompt-stages and --token-stages go together")
        }
        if promptStages != nil, colocatedStages != nil {
            throw ValidationError("--stages is for workers that do both; give --prompt-stages and --token-stages alone")
        }
        if disaggregateAbove != nil, promptStages == nil {
            throw ValidationError("--disaggregate-above needs --prompt-stages and --token-stages")
        }
        if let disaggregateAbove, disaggregateAbove < 0 {
            throw ValidationError("--disaggregate-above must not be negative")
        }
        for (name, count) in [
            ("--stages", colocatedStages), ("--prompt-stages", promptStages), ("--token-stages", tokenStages),
        ] {
            if let count, !(1...1024).contains(count) { throw ValidationError("\(name) must be 1 to 1024") }
        }
        if !(1...64).contains(pipelines) { throw ValidationError("--pipelines must be 1 to 64") }
        if replicate == .on, standbys == 0, stageWorkers == 1 {
            throw ValidationError("--replicate on needs --standbys or more stages, to hold the copies")
        }
        if !(0...64).contains(standbys) { throw ValidationError("--standbys must be 0 to 64") }
        if let localWorkers, !(0...1024).contains(localWorkers) {
            throw ValidationError("--local-workers must be 0 to 1024")
        }
    }
}

/// What requests may ask for, and how many may wait.
struct AdmissionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Prompt and answer together, at most; the model's own if not given.", valueName: "tokens"))
    var context: Int?
    @Option(help: ArgumentHelp("The longest answer where the client gives no limit.", valueName: "tokens"))
    var defaultMaxTokens = 512
    @Option(help: ArgumentHelp("Sequences that run at the same time, at most.", valueName: "count"))
    var maxSequences = 256
    @Option(help: ArgumentHelp("Requests that wait; more are refused with 429.", valueName: "count"))
    var maxQueue = 1024
    @Option(help: ArgumentHelp("Rows of one pass: prompt chunks and steps together.", valueName: "tokens"))
    var tokenBudget = 512
    @Option(help: ArgumentHelp("Rows of prompt in a pass that steps have to wait for.", valueName: "tokens"))
    var promptChunk = 256
    @Option(help: ArgumentHelp("Rows of one pass of prompt stages, where no step waits.", valueName: "tokens"))
    var promptBudget = 512
    @Option(
        help: ArgumentHelp(
            "continuous; to measure against, whole (prompts are not cut) or paper:N (whole microbatches, too).",
            valueName: "kind"))
    var batching: BatchingChoice = .continuous
    @Option(help: ArgumentHelp("A request that takes longer ends, queue included.", valueName: "seconds"))
    var requestTimeout = 1800
    @Option(
        help: ArgumentHelp(
            """
            How long clients can come back to an answer after its end, and how long a request with an \
            Idempotency-Key runs on without its client; 0 for neither.
            """,
            valueName: "seconds"))
    var resumeGrace = 60
    @Option(help: ArgumentHelp("What may be kept for clients that come back.", valueName: "bytes"))
    var resumeMemory: ByteSize?

    func check() throws {
        if !(0...86400).contains(resumeGrace) { throw ValidationError("--resume-grace must be 0 to 86400 seconds") }
        if let resumeMemory, resumeMemory.bytes < 1 << 20 {
            throw ValidationError("--resume-memory must be at least 1M")
        }
        if requestTimeout < 1 { throw ValidationError("--request-timeout must be at least 1 second") }
        if tokenBudget < 1 || promptChunk < 1 {
            throw ValidationError("--token-budget and --prompt-chunk must be positive")
        }
    }
}

/// Who may talk to the server, and where it listens.
struct AccessOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Where clients connect; port 0 takes a free one.", valueName: "host:port"))
    var listen = "127.0.0.1:8080"
    @Option(help: ArgumentHelp("A file with one API key a line.", valueName: "file"), completion: .file())
    var apiKeyFile: String?
    @Flag(help: "Listen on other addresses than loopback without API keys.")
    var insecure = false
    @Option(
        help: ArgumentHelp("An origin whose pages may call the API; may be given several times.", valueName: "origin"))
    var corsOrigin: [String] = []
    @Option(help: ArgumentHelp("A host name under which a server on loopback may be called.", valueName: "name"))
    var allowedHost: [String] = []
    @Option(help: ArgumentHelp("The name of the model in the API; the file's own if not given.", valueName: "name"))
    var modelName: String?
}

/// How workers of other machines join.
struct ClusterOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Where workers of other machines join.", valueName: "host:port"))
    var clusterListen: String?
    @Option(
        help: ArgumentHelp("The file with the secret that all processes share.", valueName: "file"), completion: .file()
    )
    var clusterKeyFile: String?
    @OptionGroup var encryption: EncryptionOptions
    @Option(help: ArgumentHelp("Where the lock, the term and the sockets are kept.", valueName: "directory"))
    var stateDir: String?
    @Option(
        help: ArgumentHelp(
            """
            How long the workers of this machine live on when the server is killed, with everything that they hold; \
            one that is started on the same state directory by then takes them over.
            """,
            valueName: "seconds"))
    var orphanGrace = 60

    func check() throws {
        if !(1...86400).contains(orphanGrace) { throw ValidationError("--orphan-grace must be 1 to 86400 seconds") }
    }
}
