public import DejaVuCore
public import DejaVuKV
public import NIOCore
import Synchronization

/// Bounds the bytes in flight: a buffer is to be had only while all that are out leave room for it.
///
/// Who waits is served by priority, then in order; a small wish does not overtake a large one of its priority, so none
/// starves. Buffers are used again, since fresh memory costs a page fault for every 4 KB.
public final class StagingPool: Sendable {
    /// Buffers that are kept to be used again; all that a full pool of pieces of 256 KB has.
    private static let spareCountMax = 256

    public let bytesMax: Int
    private let waitersMax: Int
    private let state = Mutex(State())

    private struct Waiter {
        let number: UInt64
        let byteCount: Int
        let continuation: CheckedContinuation<Result<ByteBuffer, DejaVuError>, Never>
    }

    private struct State {
        var bytesOut = 0
        var waiting = [[Waiter]](repeating: [], count: StreamPriority.allCases.count)
        var waitingCount = 0
        var lastNumber: UInt64 = 0
        /// Calls that are about to wait, and why not to, if that is known before they do.
        var arriving: [UInt64: DejaVuError?] = [:]
        /// Buffers to use again, the last one returned at the end.
        var spare: [ByteBuffer] = []
        var spareBytes = 0
    }

    /// - Parameter waitersMax: more callers than this are refused at once.
    public init(bytesMax: Int, waitersMax: Int = 65_536) {
        precondition(bytesMax > 0 && waitersMax > 0, "a pool holds something")
        self.bytesMax = bytesMax
        self.waitersMax = waitersMax
    }

    /// Bytes of all buffers that are out.
    public var bytesInFlight: Int { state.withLock { $0.bytesOut } }
    /// Callers that wait.
    public var waitingCount: Int { state.withLock { $0.waitingCount } }

    /// An empty buffer with room for that many bytes, which count as in flight until it is released.
    ///
    /// - Throws: `.invalidArgument` if it could never be; `.deadlineExceeded`; `.cancelled`; `.resourceExhausted` if
    ///   too many wait.
    public func take(
        _ byteCount: Int, priority: StreamPriority, within: TimeSpan
    ) async throws(DejaVuError) -> Staging {
        guard byteCount >= 0, byteCount <= bytesMax else {
            throw DejaVuError(
                .invalidArgument, "a frame of \(byteCount) bytes; at most \(bytesMax) may be in flight")
        }
        if let buffer = takeNow(byteCount, priority) { return Staging(byteCount, buffer, pool: self) }
        let number = state.withLock { state in
            state.lastNumber += 1
            state.arriving.updateValue(nil, forKey: state.lastNumber)
            return state.lastNumber
        }
        let alarm = Task {
            try? await Task.sleep(for: .nanoseconds(within.nanoseconds))
            let late = DejaVuError(.deadlineExceeded, "no staging buffer became free in \(within)")
            if !Task.isCancelled { self.giveUp(number, priority, late) }
        }
        defer { alarm.cancel() }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation {
                wait(Waiter(number: number, byteCount: byteCount, continuation: $0), priority)
            }
        } onCancel: {
            giveUp(number, priority, DejaVuError(.cancelled, "the wait for a staging buffer was cancelled"))
        }
        return Staging(byteCount, try result.get(), pool: self)
    }

    private func takeNow(_ byteCount: Int, _ priority: StreamPriority) -> ByteBuffer? {
        state.withLock { state in
            let isFirst = state.waiting[...Int(priority.rawValue)].allSatisfy(\.isEmpty)
            guard isFirst, state.bytesOut + byteCount <= bytesMax else { return nil }
            return Self.take(byteCount, &state)
        }
    }

    private func wait(_ waiter: Waiter, _ priority: StreamPriority) {
        state.withLock { state in
            if let error = state.arriving.removeValue(forKey: waiter.number) ?? nil {
                waiter.continuation.resume(returning: .failure(error))
            } else if state.waitingCount >= waitersMax {
                waiter.continuation.resume(
                    returning: .failure(DejaVuError(.resourceExhausted, "\(waitersMax) frames wait for a buffer")))
            } else {
                state.waiting[Int(priority.rawValue)].append(waiter)
                state.waitingCount += 1
                // Room may have come since the first look.
                serve(&state)
            }
        }
    }

    private func giveUp(_ number: UInt64, _ priority: StreamPriority, _ error: DejaVuError) {
        state.withLock { state in
            let rank = Int(priority.rawValue)
            guard let index = state.waiting[rank].firstIndex(where: { $0.number == number }) else {
                // Served already, or it has not begun to wait.
                if state.arriving.keys.contains(number) { state.arriving.updateValue(error, forKey: number) }
                return
            }
            let waiter = state.waiting[rank].remove(at: index)
            state.waitingCount -= 1
            waiter.continuation.resume(returning: .failure(error))
            serve(&state)
        }
    }

    private func serve(_ state: inout State) {
        for rank in state.waiting.indices {
            while let first = state.waiting[rank].first {
                guard state.bytesOut + first.byteCount <= bytesMax else { return }
                state.waiting[rank].removeFirst()
                state.waitingCount -= 1
                first.continuation.resume(returning: .success(Self.take(first.byteCount, &state)))
            }
        }
    }

    private static func take(_ byteCount: Int, _ state: inout State) -> ByteBuffer {
        state.bytesOut += byteCount
        // The last one of the right size that nobody holds a slice of any more. It is cleared here, where it has one
        // owner: a copy of it would be fresh memory.
        for index in state.spare.indices.reversed() {
            let capacity = state.spare[index].storageCapacity
            guard capacity >= byteCount, capacity <= 2 * byteCount,
                state.spare[index].modifyIfUniquelyOwned({ $0.clear() }) != nil
            else { continue }
            state.spareBytes -= capacity
            return state.spare.remove(at: index)
        }
        return ByteBufferAllocator().buffer(capacity: byteCount)
    }

    fileprivate func giveBack(_ byteCount: Int, _ buffer: ByteBuffer?) {
        state.withLock { state in
            state.bytesOut -= byteCount
            if let buffer, buffer.storageCapacity >= 4096 {
                state.spare.append(buffer)
                state.spareBytes += buffer.storageCapacity
                while state.spare.count > Self.spareCountMax || state.spareBytes > bytesMax {
                    state.spareBytes -= state.spare.removeFirst().storageCapacity
                }
            }
            serve(&state)
        }
    }
}

/// A buffer from a pool, or the leave to have that many bytes in flight. Given back by `release` or when it is
/// forgotten.
public final class Staging: Sendable {
    public let byteCount: Int
    private let pool: StagingPool
    private let state: Mutex<State>

    private struct State {
        var buffer: ByteBuffer
        var isForeign = false
        var isReleased = false
    }

    /// - Parameter buffer: empty, with room for all bytes.
    fileprivate init(_ byteCount: Int, _ buffer: ByteBuffer, pool: StagingPool) {
        self.byteCount = byteCount
        self.pool = pool
        state = Mutex(State(buffer: buffer))
    }

    deinit { release() }

    /// Fills the buffer. It has room for `byteCount` bytes.
    public func fill<Result: Sendable>(_ body: (inout ByteBuffer) throws -> Result) rethrows -> Result {
        try state.withLock { try body(&$0.buffer) }
    }

    /// Puts a buffer that was filled elsewhere in place of this one's.
    public func replace(with buffer: ByteBuffer) { state.withLock { $0.buffer = buffer } }

    /// Sends a buffer of somebody else's under this leave. It does not come back to this pool, where two owners would
    /// keep it from ever being used again; the one that was taken does at once.
    public func lend(_ foreign: ByteBuffer) {
        let own = state.withLock { state in
            defer { (state.buffer, state.isForeign) = (foreign, true) }
            return state.buffer
        }
        pool.giveBack(0, own)
    }

    /// Takes the buffer out, to fill it where waiting is needed, and to put it back by `replace`.
    public func detach() -> ByteBuffer {
        state.withLock { state in
            defer { state.buffer = ByteBuffer() }
            return state.buffer
        }
    }

    public var contents: ByteBuffer { state.withLock { $0.buffer } }

    /// Gives the bytes back to the pool. No effect the second time.
    public func release() {
        let buffer: ByteBuffer?? = state.withLock { state in
            guard !state.isReleased else { return nil }
            state.isReleased = true
            defer { state.buffer = ByteBuffer() }
            return .some(state.isForeign ? nil : state.buffer)
        }
        if let buffer { pool.giveBack(byteCount, buffer) }
    }
}
