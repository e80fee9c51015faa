import DejaVuControl
import DejaVuCore

extension ClusterStatus {
    /// The status as `/cluster` tells it: plain names, seconds and bytes.
    func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("ready", ready && !draining)
            $0.key("reason", reason)
            $0.key("draining", draining)
            $0.key("warnings")
            $0.array(warnings) { $0.string($1) }
            $0.key("term", Int(clamping: term.number))
            $0.key("workers")
            $0.array(workers) { $1.write(&$0) }
            $0.key("pipelines")
            $0.array(pipelines) { $1.write(&$0) }
            $0.key("queue")
            $0.object {
                $0.key("requests", queue.requests)
                $0.key("requests_max", queue.requestsMax)
                $0.key("tokens", queue.tokens)
                $0.key("tokens_max", queue.tokensMax)
            }
            $0.key("sequences_running", sequencesRunning)
            $0.key("sequences_parked", sequencesParked)
            $0.key("replicates", replicates)
            $0.key("sequences_at_risk", sequencesAtRisk)
            $0.key("positions_at_risk", positionsAtRisk)
            $0.key("last_recovery")
            if let lastRecovery { lastRecovery.write(&$0) } else { $0.null() }
            $0.key("prompts")
            if let prompts { prompts.write(&$0) } else { $0.null() }
            $0.key("tokens_emitted", Int(clamping: counters.tokensEmitted))
            $0.key("prompt_rows", Int(clamping: counters.promptRows))
            $0.key("passes_completed", Int(clamping: counters.passesCompleted))
            $0.key("workers_lost", Int(clamping: counters.workersLost))
            $0.key("workers_left", Int(clamping: counters.workersLeft))
            $0.key("recoveries", Int(clamping: counters.recoveries))
            $0.key("takeovers", Int(clamping: counters.takeovers))
            $0.key("workers_adopted", Int(clamping: counters.workersAdopted))
            $0.key("requests_restored", Int(clamping: counters.requestsRestored))
            $0.key("positions_run_again", Int(clamping: counters.positionsRunAgain))
            $0.key("emulation")
            if let emulation { emulation.write(&$0) } else { $0.null() }
        }
    }
}

extension PromptStatus {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("disaggregate_above", disaggregateAbove)
            $0.key("waiting", waiting)
            $0.key("running", running)
            $0.key("positions_behind", positionsBehind)
            $0.key("stalled", stalled)
            $0.key("stalled_seconds", stalledFor.seconds)
        }
    }
}

extension RecoveryReport {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("pipeline", pipeline.description)
            $0.key("reason", reason)
            $0.key("pause_seconds", pause.seconds)
            $0.key("detect_seconds", detect.seconds)
            $0.key("place_seconds", place.seconds)
            $0.key("restore_seconds", restore.seconds)
            $0.key("run_again_seconds", runAgain.seconds)
            $0.key("first_token_seconds", firstToken.seconds)
            $0.key("positions_run_again", positionsRunAgain)
            $0.key("stages_by_replica", stagesByReplica)
        }
    }
}

extension EmulationUsage {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("passes", passes)
            $0.key("late_passes", latePasses)
            $0.key("device_seconds", emulated.seconds)
            $0.key("cpu_seconds", processor.seconds)
            $0.key("rewrite_mismatches", rewriteMismatches)
            $0.key("valid", isValid)
        }
    }
}

extension WorkerStatus {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("id", id.description)
            $0.key("name", name)
            $0.key("process_id", Int(processID))
            $0.key("state", state.rawValue)
            $0.key("pipeline", pipeline?.description)
            $0.key("stage")
            if let stageIndex { $0.integer(stageIndex) } else { $0.null() }
            $0.key("silence_seconds", silence.seconds)
            $0.key("kv_bytes_max", kvBytesMax)
            $0.key("error", error)
            $0.key("replicas")
            $0.array(replicas) { json, replica in
                json.object {
                    $0.key("pipeline", replica.pipeline.description)
                    $0.key("stage", replica.stageIndex)
                    $0.key("ready", replica.ready)
                }
            }
        }
    }
}

extension PipelineStatus {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("id", id.description)
            $0.key("role", role.rawValue)
            $0.key("epoch", Int(clamping: epoch.rawValue))
            $0.key("state", state.rawValue)
            $0.key("stages")
            $0.array(stages) { $1.write(&$0) }
            $0.key("microbatches")
            $0.array(microbatches) { json, batch in
                json.object {
                    $0.key("pass", batch.pass.description)
                    $0.key("sequences", batch.sequences)
                    $0.key("rows", batch.rows)
                    $0.key("stage", batch.stageIndex)
                }
            }
            $0.key("sequences_running", sequencesRunning)
            $0.key("cells_total", cellsTotal)
            $0.key("cells_used", cellsUsed)
            $0.key("kv_bytes_total", kvBytesTotal)
            $0.key("kv_bytes_used", kvBytesUsed)
            $0.key("swap")
            if let swap { swap.write(&$0) } else { $0.null() }
        }
    }
}

extension SwapStatus {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("cells_resident", cellsResident)
            $0.key("on", isOn)
            $0.key("needed", isNeeded)
            $0.key("reason", reason)
            $0.key("sequences_waiting", sequencesWaiting)
            $0.key("fetches", usage.fetches)
            $0.key("bytes_in", usage.bytesIn)
            $0.key("bytes_out", usage.bytesOut)
            $0.key("fetch_seconds", usage.fetching.seconds)
            $0.key("wait_seconds", usage.waited.seconds)
        }
    }
}

extension StageStatus {
    fileprivate func write(_ json: inout JSONWriter) {
        json.object {
            $0.key("index", index)
            $0.key("first_layer", layers.first)
            $0.key("end_layer", layers.end)
            $0.key("worker", worker?.description)
            $0.key("replica_worker", holder?.description)
            $0.key("replica_ready", replicaReady)
            $0.key("replica_lag", replicaLag)
            $0.key("busy_share", busyShare)
            $0.key("passes", Int(clamping: passes))
            $0.key("computed_seconds", computed.seconds)
            $0.key("kv_bytes_total", kvBytesTotal)
            $0.key("kv_bytes_used", kvBytesUsed)
        }
    }
}
