package import DejaVuCore
import Synchronization

/// Collects what a worker's stages swap, on their threads, for readers on others.
package final class SwapMeter: Sendable {
    private let total = Mutex(SwapUsage())
    private let tracer = Mutex<WorkerTracer?>(nil)

    package init() {}
    package var usage: SwapUsage { total.withLock { $0 } }

    /// Who writes it down besides.
    func trace(to tracer: WorkerTracer) { self.tracer.withLock { $0 = tracer } }

    func fetched(_ transfer: TracedTransfer) {
        total.withLock {
            $0.fetches += 1
            $0.bytesIn += transfer.bytes
            $0.fetching = $0.fetching + transfer.span
        }
        tracer.withLock { $0 }?.landed(transfer, at: transfer.start + transfer.span)
    }

    func stored(_ bytes: Int) { total.withLock { $0.bytesOut += bytes } }

    func waited(_ time: TimeSpan) { total.withLock { $0.waited = $0.waited + time } }
}
