import DejaVuControl
import DejaVuCore
import Hummingbird

/// Workers that are to leave.
extension ServingService {
    /// Asks a worker, by its name or id, to hand its stages over to others and to end. It is gone from `/cluster` when
    /// it has.
    ///
    /// - Throws: 404 if there is no such worker, 409 if several have the name.
    func clusterDrain(_ request: HummingbirdCore.Request) async throws(APIError) -> Reply {
        let fields = try RequestFields(parse(try await body(request)))
        _ = try fields.required("worker")
        let wanted = try fields.string("worker") ?? ""
        let workers = await backend.status().workers.filter { $0.id.description == wanted || $0.name == wanted }
        guard let worker = workers.first else {
            throw APIError(
                status: 404, code: "worker_not_found", parameter: "worker",
                message: "There is no worker with the name or id '\(wanted.prefix(100))'.")
        }
        guard workers.count == 1 else {
            let ids = workers.map(\.id.description).joined(separator: ", ")
            throw APIError(
                status: 409, code: "worker_ambiguous", parameter: "worker",
                message: "Several workers have that name: say which by its id, one of \(ids).")
        }
        backend.drainWorker(worker.id)
        return .json {
            $0.key("worker", worker.id.description)
            $0.key("name", worker.name)
            $0.key("process_id", Int(worker.processID))
        }
    }
}
