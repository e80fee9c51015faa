import DejaVuCore
import Foundation

/// A `serve` of one's own in another process, since its workers are to be struck and not this one.
struct OwnServer {
    let url: String
    private let process: Process

    static func start(model: String, arguments: [String]) async throws -> OwnServer {
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["serve", model, "--listen", "127.0.0.1:0", "--log-level", "error"] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        // To read is to block, and to wait for a process as well: neither belongs on the cooperative pool.
        let url: String? = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var text = ""
                while !text.contains("\n") {
                    let more = pipe.fileHandleForReading.availableData
                    if more.isEmpty { break }
                    text += String(decoding: more, as: UTF8.self)
                }
                let start = text.range(of: "http://")?.lowerBound
                continuation.resume(returning: start.map { String(text[$0...].prefix { !$0.isWhitespace }) })
            }
        }
        guard let url else {
            process.terminate()
            throw DejaVuError(.unavailable, "the server that was started did not get ready")
        }
        return OwnServer(url: url, process: process)
    }

    func stop() async {
        let process = process
        process.terminate()
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                process.waitUntilExit()
                continuation.resume()
            }
        }
    }
}

/// A new directory that only this user can look into.
struct PrivateDirectory {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "/dejavu-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
