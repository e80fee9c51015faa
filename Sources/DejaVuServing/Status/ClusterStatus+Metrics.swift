import DejaVuControl
import DejaVuCore
import DejaVuMetrics

extension ClusterStatus {
    /// What `/metrics` says of the cluster at this moment.
    var samples: [MetricSample] {
        var samples = [
            MetricSample(MetricTable.ready, [], ready ? 1 : 0),
            MetricSample(MetricTable.queueLength, [], Double(queue.requests)),
            MetricSample(MetricTable.queueLimit, [], Double(queue.requestsMax)),
            MetricSample(MetricTable.queueTokens, [], Double(queue.tokens)),
            MetricSample(MetricTable.queueTokensLimit, [], Double(queue.tokensMax)),
            MetricSample(MetricTable.runningSequences, [], Double(sequencesRunning)),
            MetricSample(MetricTable.parkedSequences, [], Double(sequencesParked)),
            MetricSample(MetricTable.rows, ["prompt"], Double(counters.promptRows)),
            MetricSample(MetricTable.rows, ["step"], Double(counters.stepRows)),
            MetricSample(MetricTable.rows, ["replay"], Double(counters.replayRows)),
            MetricSample(MetricTable.passes, ["completed"], Double(counters.passesCompleted)),
            MetricSample(MetricTable.passes, ["voided"], Double(counters.passesVoided)),
            MetricSample(MetricTable.recoveries, [], Double(counters.recoveries)),
            MetricSample(MetricTable.takeovers, [], Double(counters.takeovers)),
            MetricSample(MetricTable.moves, [], Double(counters.moves)),
            MetricSample(MetricTable.workersAdopted, [], Double(counters.workersAdopted)),
            MetricSample(MetricTable.requestsRestored, [], Double(counters.requestsRestored)),
            MetricSample(MetricTable.positionsRunAgain, [], Double(counters.positionsRunAgain)),
            MetricSample(MetricTable.sequencesAtRisk, [], Double(sequencesAtRisk)),
            MetricSample(MetricTable.positionsAtRisk, [], Double(positionsAtRisk)),
            MetricSample(MetricTable.workersLost, [], Double(counters.workersLost)),
            MetricSample(MetricTable.poisoned, [], Double(counters.sequencesPoisoned)),
            MetricSample(MetricTable.rewriteMismatches, [], Double(counters.rewriteMismatches)),
            MetricSample(MetricTable.kvUsed, ["device"], pipelines.reduce(0) { $0 + $1.deviceBytesUsed }),
            MetricSample(MetricTable.kvLimit, ["device"], pipelines.reduce(0) { $0 + $1.deviceBytes }),
        ]
        let swapping = pipelines.filter { $0.swap != nil }
        if !swapping.isEmpty {
            samples += [
                MetricSample(MetricTable.kvUsed, ["below"], Double(swapping.reduce(0) { $0 + $1.kvBytesUsed })),
                MetricSample(MetricTable.kvLimit, ["below"], Double(swapping.reduce(0) { $0 + $1.kvBytesTotal })),
            ]
        }
        if let lastRecovery {
            let parts: [(String, TimeSpan)] = [
                ("detect", lastRecovery.detect), ("place", lastRecovery.place), ("restore", lastRecovery.restore),
                ("run_again", lastRecovery.runAgain), ("first_token", lastRecovery.firstToken),
            ]
            for (name, time) in parts {
                samples.append(MetricSample(MetricTable.lastRecovery, [name], time.seconds))
            }
        }
        for state in [WorkerStatus.State.standby, .loading, .serving, .resting, .leaving] {
            let count = workers.count { $0.state == state }
            samples.append(MetricSample(MetricTable.workers, [state.rawValue], Double(count)))
        }
        if let emulation { samples += emulation.samples }
        if let prompts { samples += prompts.samples }
        // Bounded, since the number of pipelines and stages is up to the operator.
        for pipeline in pipelines.prefix(16) { samples += pipeline.samples }
        return samples
    }
}

extension SwapStatus {
    fileprivate func samples(_ pipeline: String) -> [MetricSample] {
        var samples = [
            MetricSample(MetricTable.swapEnabled, [pipeline], isOn ? 1 : 0),
            MetricSample(MetricTable.swapWaiting, [pipeline], Double(sequencesWaiting)),
            MetricSample(MetricTable.swapBytes, [pipeline, "in"], Double(usage.bytesIn)),
            MetricSample(MetricTable.swapBytes, [pipeline, "out"], Double(usage.bytesOut)),
            MetricSample(MetricTable.swapSeconds, [pipeline, "fetch"], usage.fetching.seconds),
            MetricSample(MetricTable.swapSeconds, [pipeline, "wait"], usage.waited.seconds),
        ]
        if let estimate {
            for (part, time) in [
                ("step_with", estimate.stepWith), ("fetch", estimate.fetch), ("step_without", estimate.stepWithout),
            ] {
                samples.append(MetricSample(MetricTable.swapEstimate, [pipeline, part], time.seconds))
            }
        }
        return samples
    }
}

extension PipelineStatus {
    /// On the devices, over all stages.
    fileprivate var deviceBytes: Double {
        guard let swap, cellsTotal > 0 else { return Double(kvBytesTotal) }
        return Double(kvBytesTotal) * Double(swap.cellsResident) / Double(cellsTotal)
    }
    fileprivate var deviceBytesUsed: Double { min(Double(kvBytesUsed), deviceBytes) }
}

extension PromptStatus {
    fileprivate var samples: [MetricSample] {
        [
            MetricSample(MetricTable.promptsRunning, [], Double(running)),
            MetricSample(MetricTable.promptsWaiting, [], Double(waiting)),
            MetricSample(MetricTable.promptLag, [], Double(positionsBehind)),
            MetricSample(MetricTable.promptsStalled, [], Double(stalled)),
            MetricSample(MetricTable.promptStall, [], stalledFor.seconds),
        ]
    }
}

extension EmulationUsage {
    fileprivate var samples: [MetricSample] {
        [
            MetricSample(MetricTable.emulatedPasses, ["in_time"], Double(passes - min(passes, latePasses))),
            MetricSample(MetricTable.emulatedPasses, ["late"], Double(latePasses)),
            MetricSample(MetricTable.emulatedSeconds, ["device"], emulated.seconds),
            MetricSample(MetricTable.emulatedSeconds, ["cpu"], processor.seconds),
            MetricSample(MetricTable.emulationValid, [], isValid ? 1 : 0),
        ]
    }
}

extension PipelineStatus {
    fileprivate var samples: [MetricSample] {
        let name = String(id.rawValue)
        var samples = [MetricSample(MetricTable.microbatches, [name], Double(microbatches.count))]
        if let swap { samples += swap.samples(name) }
        for stage in stages.prefix(MetricsRegistry.seriesCountMax / 16) {
            let labels = [name, String(stage.index)]
            samples += [
                MetricSample(MetricTable.stagePasses, labels, Double(stage.passes)),
                MetricSample(MetricTable.stageComputed, labels, stage.computed.seconds),
                MetricSample(MetricTable.stageBusy, labels, stage.busyShare),
                MetricSample(MetricTable.replicaLag, labels, Double(stage.replicaLag)),
                MetricSample(MetricTable.stageBubble, labels, sequencesRunning > 0 ? 1 - stage.busyShare : 0),
            ]
        }
        return samples
    }
}
