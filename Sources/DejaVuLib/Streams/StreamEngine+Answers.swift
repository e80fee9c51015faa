import DejaVuCore
import DejaVuKV
import Synchronization

extension StreamEngine {
    /// Failures of one kind in a row after which a stream stands still.
    private static let mismatchesMax = 3
    private static let gapsMax = 8

    /// What became of a frame. May be called on any thread.
    func answered(_ dispatch: Dispatch, _ result: Result<FrameReceipt, DejaVuError>) {
        note(dispatch, result)
        wake()
        doorbell.ring()
    }

    /// The same for the engine's loop, which looks at everything anyway.
    func note(_ dispatch: Dispatch, _ result: Result<FrameReceipt, DejaVuError>) {
        switch result {
        case .success(.committed(let watermark)), .success(.known(let watermark)):
            committed(dispatch, watermark: watermark)
        case .success(.gap(let watermark)):
            // One gap makes a gap of every frame that was on its way behind it: these say nothing more.
            if state.withLock({ $0.book.isTelling(dispatch.flight) }), count(dispatch) > Self.gapsMax {
                failed(dispatch, DejaVuError(.unavailable, "the destination goes back to \(watermark) again and again"))
            } else {
                state.withLock { $0.book.gap(dispatch.flight, watermark: watermark) }
            }
        case .failure(let error):
            failed(dispatch, error)
        }
    }

    private func committed(_ dispatch: Dispatch, watermark: Int) {
        let readers = state.withLock { state in
            state.book.acknowledge(dispatch.flight, watermark: watermark)
            if !state.failures.isEmpty { state.failures[stream(of: dispatch)] = nil }
            return state.readers.isEmpty ? [] : state.readers[dispatch.subscription] ?? []
        }
        for reader in readers {
            reader.yield(
                StreamProgress(
                    subscription: dispatch.subscription, sequence: dispatch.span.sequence,
                    layers: dispatch.span.layers, watermark: watermark))
        }
    }

    private func stream(of dispatch: Dispatch) -> Stream {
        Stream(subscription: dispatch.subscription, sequence: dispatch.span.sequence)
    }

    private func count(_ dispatch: Dispatch) -> Int {
        state.withLock { state in
            let failures = (state.failures[stream(of: dispatch)] ?? 0) + 1
            state.failures[stream(of: dispatch)] = failures
            return failures
        }
    }

    /// A frame did not get there. What the ticket forbids stands still until there is a new one; what may work later is
    /// tried again, each time after a longer wait.
    func failed(_ dispatch: Dispatch, _ error: DejaVuError) {
        if error.code == .cancelled, Task.isCancelled || state.withLock({ $0.isEnding }) {
            // The engine ends: nothing has failed.
            state.withLock { $0.book.giveBack(dispatch.flight) }
            return
        }
        let failures = count(dispatch)
        let isFinal = error.code == .refused || (error.code == .mismatch && failures >= Self.mismatchesMax)
        let isNews = state.withLock { state in
            guard state.book.isFlying(dispatch.flight) else { return false }
            state.book.refuse(dispatch.flight)
            if !isFinal {
                state.alarms.append(
                    Alarm(
                        due: .now + delay(after: failures), destination: dispatch.destination,
                        sequence: dispatch.span.sequence))
            }
            return true
        }
        guard isNews else { return }
        if !isFinal { streamer.counts.withLock { $0.retries += 1 } }
        report(
            isFinal
                ? .refused(dispatch.subscription, dispatch.span.sequence, error)
                : .delayed(dispatch.subscription, dispatch.span.sequence, error))
        doorbell.ring()
    }

    private func delay(after failures: Int) -> Duration {
        let most = options.retryTimeMax.nanoseconds
        let (time, overflow) = options.retryTime.nanoseconds.multipliedReportingOverflow(by: 1 << min(failures - 1, 30))
        return .nanoseconds(overflow ? most : min(most, time))
    }
}

extension Streamer {
    /// A frame is on its way to a peer.
    func began(_ header: FrameHeader) {
        counts.withLock {
            $0.framesPosted += 1
            $0.framesInFlight += 1
            $0.bytesPosted += header.payloadBytes
        }
    }

    func ended(_ header: FrameHeader, _ result: Result<FrameReceipt, DejaVuError>) {
        counts.withLock {
            $0.framesInFlight -= 1
            switch result {
            case .success(.committed):
                $0.framesCommitted += 1
                $0.bytesCommitted += header.payloadBytes
            case .success(.known): $0.framesKnown += 1
            case .success(.gap): $0.framesGap += 1
            case .failure: break
            }
        }
        if case .failure(let error) = result { count(error) }
    }
}
