import DejaVuMetrics
import Foundation
import Testing

@Test func metricsDocument_onDisk_agreesWithTheTable() throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/METRICS.md")
        .standardized
    if ProcessInfo.processInfo.environment["UPDATE_DOCS"] != nil {
        try Data(metricsDocument().utf8).write(to: file)
    }
    let onDisk = try String(decoding: Data(contentsOf: file), as: UTF8.self)
    #expect(onDisk == metricsDocument(), "run UPDATE_DOCS=1 swift test --filter metricsDocument")
}

@Test func metricTable_everyName_hasPrefixAndUnitSuffix() {
    for definition in MetricTable.all {
        #expect(definition.name.hasPrefix("dejavu_"))
        #expect(!definition.help.isEmpty && definition.help.hasSuffix("."))
        #expect((definition.kind == .counter) == definition.name.hasSuffix("_total"), "\(definition.name)")
        if ["seconds", "bytes"].contains(definition.unit) {
            #expect(definition.name.contains("_\(definition.unit)"), "\(definition.name)")
        }
    }
}
