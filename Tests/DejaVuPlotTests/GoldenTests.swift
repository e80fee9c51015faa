import DejaVuPlot
import Foundation
import Testing

/// The pictures of the gallery against their golden files. After a change that is meant, run the tests once with
/// `DEJAVU_UPDATE_GOLDEN=1`, look at the pictures, and commit them.
struct GoldenTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")

    @Test(arguments: Gallery.all.map(\.name))
    func picture_drawnAgain_equalsGoldenFile(name: String) throws {
        let figure = try #require(Gallery.all.first { $0.name == name }).figure
        let file = GoldenTests.folder.appending(path: name + ".svg")
        if ProcessInfo.processInfo.environment["DEJAVU_UPDATE_GOLDEN"] == "1" {
            try FileManager.default.createDirectory(at: GoldenTests.folder, withIntermediateDirectories: true)
            try Data(figure.svg().utf8).write(to: file)
        }
        let golden = try String(contentsOf: file, encoding: .utf8)
        // Not `figure.svg() == golden` inside: a failure would print both documents.
        let same = figure.svg() == golden
        #expect(same, "\(name).svg differs from its golden file")
    }

    @Test(arguments: Gallery.all.map(\.name))
    func picture_anyInput_isWellFormedXML(name: String) throws {
        let figure = try #require(Gallery.all.first { $0.name == name }).figure
        let problem = WellFormedness.problem(in: figure.svg())
        #expect(problem == nil)
    }
}
