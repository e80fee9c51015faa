import DejaVuCore
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Foundation
import Testing

@Test func sets_asManyProcessorsAsThreads_oneEach() {
    #expect(ThreadPlacement.sets(threads: 2, processors: [0, 1]) == [[0], [1]])
    #expect(ThreadPlacement.sets(threads: 3, processors: [2, 5, 7]) == [[2], [5], [7]])
}

@Test func sets_moreProcessorsThanThreads_eachHasOneOwner() {
    #expect(ThreadPlacement.sets(threads: 2, processors: [0, 1, 2, 3]) == [[0, 2], [1, 3]])
    #expect(ThreadPlacement.sets(threads: 2, processors: [1, 2, 6]) == [[1, 6], [2]])
}

@Test func sets_loneThreadOrTooFewProcessors_nobodyIsBound() {
    #expect(ThreadPlacement.sets(threads: 1, processors: [0, 1]).isEmpty)
    #expect(ThreadPlacement.sets(threads: 3, processors: [0, 1]).isEmpty)
}

@Test(
    .enabled("needs two processors") { ProcessInfo.processInfo.activeProcessorCount >= 2 }, arguments: [1, 2])
func engine_spreadsThreads_bindsItsOwnOnlyIfThereAreSeveral(threads: Int) async throws {
    let file = try GGUFFile(bytes: try RandomModel().bytes())
    // The thread that makes an engine stays bound, so it is one of its own.
    let (before, after): (String, String) = try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
            continuation.resume(
                with: Result {
                    let before = allowedProcessors()
                    var options = StageEngineOptions(
                        layers: LayerRange(0, try DecoderDescription(file: file).layerCount),
                        cellCount: CellRun.granularity)
                    options.threadCount = threads
                    options.spreadsThreads = true
                    _ = try GGMLStageEngine(file: file, options: options)
                    return (before, allowedProcessors())
                })
        }
    }
    #expect(before.hasPrefix("Cpus_allowed_list") && (before == after) == (threads == 1), "\(before), then \(after)")
}

private func allowedProcessors() -> String {
    let status = (try? String(contentsOfFile: "/proc/thread-self/status", encoding: .utf8)) ?? ""
    return status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list") }.map(String.init) ?? ""
}
