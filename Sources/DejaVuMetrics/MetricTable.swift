/// Every metric of the server. `/metrics` serves nothing else, and docs/METRICS.md is written from this table.
package enum MetricTable {
    private static let latency: [Double] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120,
    ]
    private static let long: [Double] = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640]
    private static let tokens: [Double] = (0...15).map { Double(1 << $0) }

    package static let timeToFirstToken = MetricDefinition(
        "dejavu_time_to_first_token_seconds", .histogram(bounds: latency), unit: "seconds",
        help: "From a request's last byte to the first token of its first choice.")
    package static let interToken = MetricDefinition(
        "dejavu_inter_token_seconds", .histogram(bounds: latency), unit: "seconds",
        help: "Between two tokens of one choice.")
    package static let endToEnd = MetricDefinition(
        "dejavu_request_seconds", .histogram(bounds: long), unit: "seconds",
        help: "From a generation request's last byte to the end of its answer.")
    package static let queueTime = MetricDefinition(
        "dejavu_queue_seconds", .histogram(bounds: long), unit: "seconds",
        help: "From submission to admission: how long a request waited for memory or its turn.")
    package static let promptLength = MetricDefinition(
        "dejavu_request_prompt_tokens", .histogram(bounds: tokens), unit: "tokens",
        help: "Prompt tokens of each request.")
    package static let outputLength = MetricDefinition(
        "dejavu_request_output_tokens", .histogram(bounds: tokens), unit: "tokens",
        help: "Output tokens of each request, over all its choices.")

    package static let promptTokens = MetricDefinition(
        "dejavu_prompt_tokens_total", .counter, unit: "tokens", help: "Prompt tokens of admitted requests.")
    package static let outputTokens = MetricDefinition(
        "dejavu_output_tokens_total", .counter, unit: "tokens", help: "Generated tokens that reached the server.")
    package static let requests = MetricDefinition(
        "dejavu_requests_total", .counter, unit: "requests", labels: ["route", "outcome"],
        help: "Generation requests by how they ended: completed, refused, busy, unavailable, cancelled, failed.")
    package static let choices = MetricDefinition(
        "dejavu_choices_total", .counter, unit: "choices", labels: ["finish_reason"],
        help: "Choices by why they ended: stop, length, cancelled, deadline, poisoned, shutdown.")
    package static let responses = MetricDefinition(
        "dejavu_http_responses_total", .counter, unit: "responses", labels: ["route", "code"],
        help: "HTTP answers by route and status code.")
    package static let connections = MetricDefinition(
        "dejavu_http_connections", .gauge, unit: "connections", help: "Open HTTP connections.")
    package static let connectionsRefused = MetricDefinition(
        "dejavu_http_connections_closed_total", .counter, unit: "connections", labels: ["cause"],
        help: "Connections that the server closed: limit, slow_request, slow_reader, pipelining, malformed.")

    package static let resumed = MetricDefinition(
        "dejavu_requests_resumed_total", .counter, unit: "requests", labels: ["by"],
        help: "Clients that came back to a request: with its id (events) or with its Idempotency-Key (key).")
    package static let resumeBytes = MetricDefinition(
        "dejavu_resume_bytes", .gauge, unit: "bytes", help: "Memory of answers that clients can come back to.")
    package static let resumeLimit = MetricDefinition(
        "dejavu_resume_limit_bytes", .gauge, unit: "bytes",
        help: "What answers that clients can come back to may take.")
    package static let resumeDropped = MetricDefinition(
        "dejavu_resume_dropped_total", .counter, unit: "requests", labels: ["cause"],
        help: "Ended answers that were forgotten: their grace was over (time), or the memory was needed (bytes).")

    package static let ready = MetricDefinition(
        "dejavu_ready", .gauge, unit: "boolean", help: "1 if a token crossed all stages recently, else 0.")
    package static let queueLength = MetricDefinition(
        "dejavu_queue_length", .gauge, unit: "requests", help: "Requests that wait for admission.")
    package static let queueLimit = MetricDefinition(
        "dejavu_queue_limit", .gauge, unit: "requests", help: "How many requests may wait for admission.")
    package static let queueTokens = MetricDefinition(
        "dejavu_queue_tokens", .gauge, unit: "tokens", help: "Positions that the waiting requests will reserve.")
    package static let queueTokensLimit = MetricDefinition(
        "dejavu_queue_tokens_limit", .gauge, unit: "tokens", help: "How many positions may wait for admission.")
    package static let runningSequences = MetricDefinition(
        "dejavu_sequences_running", .gauge, unit: "sequences", help: "Sequences that hold cells.")
    package static let parkedSequences = MetricDefinition(
        "dejavu_sequences_parked", .gauge, unit: "sequences",
        help: "Sequences that lost their cells and wait for others.")
    package static let promptsRunning = MetricDefinition(
        "dejavu_prompts_disaggregated", .gauge, unit: "sequences",
        help: "Sequences that have cells of a prompt pipeline; there only where prompts have workers of their own.")
    package static let promptsWaiting = MetricDefinition(
        "dejavu_prompts_waiting", .gauge, unit: "sequences", help: "Sequences that wait for cells of a prompt pipeline."
    )
    package static let promptLag = MetricDefinition(
        "dejavu_prompt_stream_lag_positions", .gauge, unit: "positions",
        help: "Positions that prompt pipelines have run and token stages lack, over all sequences.")
    package static let promptsStalled = MetricDefinition(
        "dejavu_prompt_stream_stalled", .gauge, unit: "sequences",
        help: "Sequences whose rows have not arrived at their token stages for long, though there are some.")
    package static let promptStall = MetricDefinition(
        "dejavu_prompt_stream_stall_seconds", .gauge, unit: "seconds",
        help: "For how long at most; 0 if none is stalled.")
    package static let workers = MetricDefinition(
        "dejavu_workers", .gauge, unit: "workers", labels: ["state"],
        help: "Workers by state: standby, loading, serving, resting, leaving.")
    package static let kvUsed = MetricDefinition(
        "dejavu_kv_used_bytes", .gauge, unit: "bytes", labels: ["store"],
        help: "KV memory that sequences hold, by store.")
    package static let kvLimit = MetricDefinition(
        "dejavu_kv_limit_bytes", .gauge, unit: "bytes", labels: ["store"], help: "KV memory that may be held, by store."
    )
    package static let microbatches = MetricDefinition(
        "dejavu_microbatches", .gauge, unit: "passes", labels: ["pipeline"], help: "Passes in flight.")
    package static let stagePasses = MetricDefinition(
        "dejavu_stage_passes_total", .counter, unit: "passes", labels: ["pipeline", "stage"],
        help: "Passes that a stage has run since its worker took it.")
    package static let stageComputed = MetricDefinition(
        "dejavu_stage_compute_seconds_total", .counter, unit: "seconds", labels: ["pipeline", "stage"],
        help: "How long a stage has computed since its worker took it.")
    package static let stageBusy = MetricDefinition(
        "dejavu_stage_busy_share", .gauge, unit: "ratio", labels: ["pipeline", "stage"],
        help: "Share of recent time in which a stage computed, 0 to 1.")
    package static let stageBubble = MetricDefinition(
        "dejavu_stage_bubble_share", .gauge, unit: "ratio", labels: ["pipeline", "stage"],
        help: "Share of recent time in which a stage waited although its pipeline has sequences, 0 to 1.")
    package static let swapEnabled = MetricDefinition(
        "dejavu_swap_enabled", .gauge, unit: "boolean", labels: ["pipeline"],
        help: "1 if sequences take turns on a pipeline's devices when these cannot hold all; /cluster says why.")
    package static let swapWaiting = MetricDefinition(
        "dejavu_swap_sequences_waiting", .gauge, unit: "sequences", labels: ["pipeline"],
        help: "Sequences below the devices that wait until others have ended, since swapping does not pay.")
    package static let swapBytes = MetricDefinition(
        "dejavu_swap_bytes_total", .counter, unit: "bytes", labels: ["pipeline", "direction"],
        help: "KV that was brought to the devices (in), and what passes have added to it (out).")
    package static let swapSeconds = MetricDefinition(
        "dejavu_swap_seconds_total", .counter, unit: "seconds", labels: ["pipeline", "kind"],
        help: "How long bringing KV in took beside the passes (fetch), and how long passes waited for it (wait).")
    package static let swapEstimate = MetricDefinition(
        "dejavu_swap_estimate_seconds", .gauge, unit: "seconds", labels: ["pipeline", "part"],
        help: "What the last decision stood on: a pass's time with swapping and without, and to bring its KV in.")
    package static let rows = MetricDefinition(
        "dejavu_rows_total", .counter, unit: "rows", labels: ["kind"],
        help: "Rows in passes that were sent: of prompts, of steps, and of replays after a loss.")
    package static let passes = MetricDefinition(
        "dejavu_passes_total", .counter, unit: "passes", labels: ["outcome"],
        help: "Passes that were completed, and those voided because their epoch ended.")
    package static let recoveries = MetricDefinition(
        "dejavu_recoveries_total", .counter, unit: "recoveries", help: "Times that a pipeline was placed anew.")
    package static let takeovers = MetricDefinition(
        "dejavu_takeovers_total", .counter, unit: "stages",
        help: "Stages that the holder of their replica took over.")
    package static let moves = MetricDefinition(
        "dejavu_moves_total", .counter, unit: "stages",
        help: "Stages that went to another worker by plan, without anything being run again.")
    package static let workersAdopted = MetricDefinition(
        "dejavu_workers_adopted_total", .counter, unit: "workers",
        help: "Workers that were taken over, with all that they held, from a server that was killed.")
    package static let requestsRestored = MetricDefinition(
        "dejavu_requests_restored_total", .counter, unit: "requests",
        help: "Requests that were found at such workers.")
    package static let positionsRunAgain = MetricDefinition(
        "dejavu_positions_run_again_total", .counter, unit: "positions",
        help: "Positions that all stages had committed and that were run again because one stage was lost.")
    package static let sequencesAtRisk = MetricDefinition(
        "dejavu_sequences_at_risk", .gauge, unit: "sequences",
        help: "Running sequences for which some stage has no replica.")
    package static let positionsAtRisk = MetricDefinition(
        "dejavu_positions_at_risk", .gauge, unit: "positions",
        help: "Positions that would be run again if the stage whose replica lags most died now.")
    package static let replicaLag = MetricDefinition(
        "dejavu_replica_lag_positions", .gauge, unit: "positions", labels: ["pipeline", "stage"],
        help: "Committed positions that a stage's replica does not have; all there are if it has none.")
    package static let lastRecovery = MetricDefinition(
        "dejavu_last_recovery_seconds", .gauge, unit: "seconds", labels: ["part"],
        help: "Where the time of the last recovery went: detect, place, restore, run_again, first_token.")
    package static let workersLost = MetricDefinition(
        "dejavu_workers_lost_total", .counter, unit: "workers", help: "Workers that died or fell silent.")
    package static let poisoned = MetricDefinition(
        "dejavu_sequences_poisoned_total", .counter, unit: "sequences",
        help: "Sequences that were ended because workers died of them.")
    package static let emulatedPasses = MetricDefinition(
        "dejavu_emulation_passes_total", .counter, unit: "passes", labels: ["timing"],
        help: "Passes of emulated devices: those in time, and those that ended more than 2% of their time late.")
    package static let emulatedSeconds = MetricDefinition(
        "dejavu_emulation_seconds_total", .counter, unit: "seconds", labels: ["kind"],
        help: "How long emulated devices computed (device), and the CPU time that their threads took for it (cpu).")
    package static let emulationValid = MetricDefinition(
        "dejavu_emulation_valid", .gauge, unit: "boolean",
        help: "1 if emulated devices kept their times: at most 1% of the passes late, at most 80% CPU; else 0.")

    package static let rewriteMismatches = MetricDefinition(
        "dejavu_kv_rewrite_mismatch_total", .counter, unit: "rows",
        help: "K and V of a committed position and layer that came out otherwise when computed again; checked by "
            + "workers with --check-rewrites, and 0 unless row invariance is broken.")

    package static let processSeconds = MetricDefinition(
        "dejavu_process_cpu_seconds_total", .counter, unit: "seconds", help: "CPU time of the serving process.")
    package static let processResident = MetricDefinition(
        "dejavu_process_resident_memory_bytes", .gauge, unit: "bytes", help: "Resident memory of the serving process.")
    package static let processStart = MetricDefinition(
        "dejavu_process_start_time_seconds", .gauge, unit: "seconds",
        help: "When the serving process started, since 1970-01-01.")
    package static let buildInfo = MetricDefinition(
        "dejavu_build_info", .gauge, unit: "boolean", labels: ["version", "model", "numeric_class"],
        help: "Always 1; the labels say what is running.")
    package static let seriesDropped = MetricDefinition(
        "dejavu_metrics_dropped_total", .counter, unit: "events",
        help: "Metrics that were asked for under a name or labels that the table does not have.")

    /// All of them, in the order of the documentation.
    package static let all: [MetricDefinition] = [
        timeToFirstToken, interToken, endToEnd, queueTime, promptLength, outputLength, promptTokens, outputTokens,
        requests, choices, responses, connections, connectionsRefused, resumed, resumeBytes,
        resumeLimit, resumeDropped, ready, queueLength, queueLimit, queueTokens,
        queueTokensLimit, runningSequences, parkedSequences, promptsRunning, promptsWaiting, promptLag, promptsStalled,
        promptStall, workers, kvUsed, kvLimit, microbatches, stagePasses,
        stageComputed, stageBusy, stageBubble, swapEnabled, swapWaiting, swapBytes, swapSeconds, swapEstimate, rows,
        passes, recoveries, takeovers, moves, workersAdopted,
        requestsRestored, positionsRunAgain,
        sequencesAtRisk, positionsAtRisk, replicaLag, lastRecovery, workersLost, poisoned, rewriteMismatches,
        emulatedPasses, emulatedSeconds, emulationValid, processSeconds, processResident, processStart, buildInfo,
        seriesDropped,
    ]
}
