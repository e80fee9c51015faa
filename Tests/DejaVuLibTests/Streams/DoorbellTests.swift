import DejaVuCore
import DejaVuLib
import Synchronization
import Testing

@Test func withDeadline_workInTime_givesItsValue() async throws {
    let value = try await withDeadline(.seconds(60), "work") { () throws(DejaVuError) in 5 }
    #expect(value == 5)
}

@Test func withDeadline_workThatWaits_isCancelled() async throws {
    let wasCancelled = Mutex(false)
    let error = await #expect(throws: DejaVuError.self) {
        try await withDeadline(.milliseconds(20), "the wait") { () throws(DejaVuError) in
            try? await Task.sleep(for: .seconds(3600))
            wasCancelled.withLock { $0 = Task.isCancelled }
            throw DejaVuError(.cancelled, "cancelled")
        }
    }
    #expect(error?.code == .deadlineExceeded)
    #expect(wasCancelled.withLock { $0 })
}

@Test func withDeadline_cancelledCaller_getsTheWorksError() async throws {
    let task = Task { () -> DejaVuError? in
        do throws(DejaVuError) {
            try await withDeadline(.seconds(3600), "the wait") { () throws(DejaVuError) in
                try? await Task.sleep(for: .seconds(3600))
                throw DejaVuError(.cancelled, "as told")
            }
            return nil
        } catch { return error }
    }
    task.cancel()
    #expect(await task.value == DejaVuError(.cancelled, "as told"))
}

@Test func tokenBook_appendedTwiceAndOverlapping_keepsOneText() throws {
    let book = TokenBook()
    let sequence = SequenceID(1)
    try book.append([1, 2, 3], of: sequence)
    try book.append([2, 3, 4], at: 1, of: sequence)
    #expect(book.text(of: sequence, in: 1..<4)?.tokens == [2, 3, 4])
    #expect(book.text(of: sequence, in: 0..<5) == nil)
    #expect(throws: DejaVuError.self) { try book.append([9], at: 3, of: sequence) }
    #expect(throws: DejaVuError.self) { try book.append([9], at: 5, of: sequence) }
    #expect(book.count(of: sequence) == 4)
    book.release(sequence)
    #expect(book.count == 0)
}
