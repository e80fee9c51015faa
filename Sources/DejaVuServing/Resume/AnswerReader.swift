import Synchronization

/// One who follows an answer. When it is gone the answer knows.
///
/// What it was made for can be dropped without a word, for one when the connection breaks between an answer's making
/// and its first byte; then its deinit does what is left to do.
final class AnswerReader: Sendable {
    let answer: LiveAnswer
    private let number: UInt64

    init(_ answer: LiveAnswer, _ number: UInt64) {
        self.answer = answer
        self.number = number
    }

    deinit { leave() }

    /// Further calls do nothing.
    func leave() { answer.detach(number) }

    /// A writer for what the client does not have yet.
    ///
    /// - Throws: 400 for an id that cannot be this answer's, 404 for one whose following events were dropped.
    func events(after id: EventID?) throws(APIError) -> EventWriter {
        let seen = id?.counts ?? []
        guard id.map({ $0.answer == answer.id }) ?? true, seen.count <= answer.choiceCount + 1 else {
            throw Self.wrongID
        }
        let result: Result<EventWriter, APIError> = answer.state.withLock { state in
            func isBeyond(_ counts: [Int]) -> Bool { zip(seen, counts).contains { $0 > $1 } }
            let padded = seen + Array(repeating: 0, count: answer.choiceCount + 1 - seen.count)
            if zip(padded, state.log.startCounts).contains(where: { $0 < $1 }) { return .failure(.droppedForMemory) }
            if state.log.isComplete, isBeyond(state.log.counts) { return .failure(Self.wrongID) }
            return .success(EventWriter(answer.format, state.log, includesUsage: answer.includesUsage, seen: seen))
        }
        return try result.get()
    }

    private static let wrongID = APIError.invalid(
        "Last-Event-ID", "Invalid 'Last-Event-ID': no event of this request has that id.")

    /// What an answer has for its reader.
    struct Reading: Sendable {
        /// Everything that there is was written.
        let isCaughtUp: Bool
        /// Nothing more will come.
        let isComplete: Bool
    }

    /// Takes in what was delivered and writes what is new.
    func read(_ events: inout EventWriter) -> Reading {
        answer.pump()
        return answer.state.withLock { state in
            let isCaughtUp = events.write(state.log)
            if state.readers[number] != nil { state.readers[number] = events.index }
            return Reading(isCaughtUp: isCaughtUp, isComplete: state.log.isComplete)
        }
    }
}

extension LiveAnswer {
    /// How far an answer has come.
    struct Progress: Sendable {
        var isAdmitted: Bool
        var hasBegun: Bool
        var isEnded: Bool
        /// What it failed of.
        var error: APIError?
        var promptTokenCount: Int
        var outputTokenCount: Int
    }

    /// Takes in what was delivered and says how far the answer has come.
    func progress() -> Progress {
        pump()
        return state.withLock { state in
            var progress = Progress(
                isAdmitted: state.generation.isAdmitted, hasBegun: state.generation.hasBegun, isEnded: false,
                promptTokenCount: state.generation.promptTokenCount, outputTokenCount: state.generation.outputTokenCount
            )
            if case .ended(let error) = state.phase {
                progress.isEnded = true
                progress.error = error
            }
            return progress
        }
    }

    /// The whole answer of a generation that went well.
    ///
    /// - Throws: 404 if a part of it was dropped.
    func whole() throws(APIError) -> [UInt8] {
        let copy = state.withLock { ($0.generation, $0.log) }
        guard copy.1.startIndex == 0 else { throw .droppedForMemory }
        return format.answer(copy.0, copy.1)
    }
}
