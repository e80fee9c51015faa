import DejaVuControl
import DejaVuCore
import DejaVuMetrics
import HTTPTypes

/// The routes that tell how the server is.
extension ServingService {
    /// 200 if a token crossed all stages recently, else 503 with the reason.
    func ready() async -> Reply {
        let status = await backend.status()
        let isReady = status.ready && !status.draining
        var reply = Reply.json(status: isReady ? 200 : 503) {
            $0.key("ready", isReady)
            $0.key("reason", isReady ? nil : status.reason ?? (status.draining ? "draining" : "not ready"))
            $0.key("warnings")
            $0.array(status.warnings) { $0.string($1) }
            $0.key("model", model.description.name)
            $0.key("exact", model.description.isExact)
        }
        if !isReady { reply.headers[.retryAfter] = "1" }
        return reply
    }

    func metricsText() async -> Reply {
        let samples = await backend.status().samples + processSamples()
        return Reply(
            status: 200, headers: [.contentType: prometheusContentType, .cacheControl: "no-store"],
            body: .bytes(metrics.registry.prometheusText(samples: samples)))
    }

    private func processSamples() -> [MetricSample] {
        let usage = ProcessUsage.now()
        let model = model.description
        return [
            MetricSample(MetricTable.processSeconds, [], usage.cpuSeconds),
            MetricSample(MetricTable.processResident, [], Double(usage.residentBytes)),
            MetricSample(MetricTable.processStart, [], usage.startSeconds),
            MetricSample(
                MetricTable.buildInfo, [configuration.version, model.name, model.numericClass.description], 1),
        ]
    }

    /// The cluster for the page's strip and for people with `curl`.
    func cluster() async -> Reply {
        let status = await backend.status()
        return .json {
            $0.key("model")
            writeModel(&$0)
            $0.key("version", configuration.version)
            $0.key("demo", configuration.isDemo)
            $0.key("cluster")
            status.write(&$0)
        }
    }

    func models() -> Reply {
        .json {
            $0.key("object", "list")
            $0.key("data")
            $0.array { json in writeModel(&json) }
        }
    }

    func oneModel(_ encodedName: Substring) throws(APIError) -> Reply {
        let name = percentDecoded(encodedName) ?? String(encodedName)
        try checkModel(name)
        var json = JSONWriter()
        writeModel(&json)
        return .json(json.bytes)
    }

    private func writeModel(_ json: inout JSONWriter) {
        let model = model.description
        json.object {
            $0.key("id", model.name)
            $0.key("object", "model")
            $0.key("created", model.created)
            $0.key("owned_by", "dejavu")
            $0.key("context_length", model.contextLength)
            $0.key("vocabulary_size", model.vocabularyCount)
            $0.key("exact", model.isExact)
            $0.key("digest", model.model.digest)
            $0.key("system_fingerprint", model.fingerprint)
        }
    }
}
