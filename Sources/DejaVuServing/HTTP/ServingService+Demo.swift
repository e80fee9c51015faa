import DejaVuControl
import Hummingbird

/// What the page may do with `--demo`.
extension ServingService {
    /// Kills one of this machine's workers, by its process id, as `kill -9` would.
    ///
    /// - Throws: 403 for others than this server's own page, 404 if there is no such worker.
    func demoKill(_ request: HummingbirdCore.Request) async throws(APIError) -> Reply {
        try Gatekeeper.checkOwnPage(request.head)
        let fields = try RequestFields(parse(try await body(request)))
        _ = try fields.required("process_id")
        let process = Int32(try fields.integer("process_id", in: 1...Int(Int32.max)) ?? 0)
        guard backend.killWorker(process) else {
            throw APIError(
                status: 404, code: "worker_not_found", parameter: "process_id",
                message: "No worker that this server has started has the process id \(process).")
        }
        return .json { $0.key("killed", Int(process)) }
    }
}
