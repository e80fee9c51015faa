public import DejaVuCore

/// Runs some work and gives it up when its time is over: the work's task is cancelled, and awaited.
///
/// - Throws: `.deadlineExceeded` with what was tried; else what the work throws.
public func withDeadline<Value: Sendable>(
    _ time: TimeSpan, _ what: @autoclosure () -> String,
    _ work: @escaping @Sendable () async throws(DejaVuError) -> Value
) async throws(DejaVuError) -> Value {
    let result = await withTaskGroup(of: Result<Value, DejaVuError>?.self) { group in
        group.addTask {
            do throws(DejaVuError) { return .success(try await work()) } catch { return .failure(error) }
        }
        group.addTask {
            try? await Task.sleep(for: .nanoseconds(time.nanoseconds))
            return nil
        }
        // The first to end decides; the other is cancelled. A cancelled sleep ends early, and then the work does too.
        var first = await group.next() ?? nil
        let isLate = first == nil && !Task.isCancelled
        group.cancelAll()
        while let next = await group.next() { if let next, first == nil { first = next } }
        // Work that was done in spite of the deadline is done.
        if isLate, case .failure = first { first = nil }
        return first
    }
    guard let result else { throw DejaVuError(.deadlineExceeded, "\(what()) took longer than \(time)") }
    return try result.get()
}
