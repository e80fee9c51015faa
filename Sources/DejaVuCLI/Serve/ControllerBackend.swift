import DejaVuControl
import DejaVuCore
import DejaVuRuntime
import DejaVuServing

/// Lets the HTTP server generate through the controller.
struct ControllerBackend: GenerationBackend {
    let controller: ControllerService

    var now: Instant { ControllerService.now }

    func submit(_ request: Request, to mailbox: GenerationMailbox) {
        let id = request.id
        controller.submit(request) { Self.deliver($0, of: id, to: mailbox) }
    }

    func follow(_ request: RequestID, to mailbox: GenerationMailbox) {
        controller.follow(request) { Self.deliver($0, of: request, to: mailbox) }
    }

    private static func deliver(
        _ event: DejaVuRuntime.GenerationEvent, of id: RequestID, to mailbox: GenerationMailbox
    ) {
        switch event {
        case .admitted: mailbox.deliver(.admitted(id))
        case .token(let choice, let token): mailbox.deliver(.token(id, choice: choice, token))
        case .finished(let choice, let reason): mailbox.deliver(.finished(id, choice: choice, reason))
        case .refused(let refusal): mailbox.deliver(.refused(id, refusal))
        }
    }

    func drainWorker(_ worker: WorkerID) { controller.drainWorker(worker) }
    func cancel(_ request: RequestID) { controller.cancel(request) }
    func finish(_ request: RequestID, choice: Int) { controller.finish(request, choice: choice) }
    func killWorker(_ process: Int32) -> Bool { controller.killLocalWorker(process) }
    func status() async -> ClusterStatus { await controller.status() }
}
