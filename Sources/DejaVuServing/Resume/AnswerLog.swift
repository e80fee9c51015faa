/// What an answer has said so far, event by event, in a form from which both the events and the whole answer are
/// written.
struct AnswerLog: Sendable {
    enum Kind: UInt8, Sendable {
        /// The assistant begins; chat only.
        case role
        case text
        /// The choice's proper end; its text is the reason.
        case finish
        /// The last two events of an answer that went well; the first one's text is a JSON object.
        case usage, done
        /// The last event of one that did not; its text is the error as JSON.
        case error
    }

    /// One event. Its text and reports begin where those of the one before end.
    struct Entry: Sendable {
        let kind: Kind
        /// The number of choices for what belongs to none.
        let choice: Int
        let textEnd: Int
        let reportsEnd: Int
    }

    let choiceCount: Int
    /// Whether the last event is there.
    private(set) var isComplete = false
    /// How many events there have been, those included that were dropped.
    private(set) var endIndex = 0
    /// Events before this one were dropped.
    private(set) var startIndex = 0
    /// How many events each choice had before `startIndex`, and last those of no choice.
    private(set) var startCounts: [Int]

    private var entries: [Entry] = []
    private var text: [UInt8] = []
    private var reports: [TokenReport] = []
    private var reportBytes = 0
    private var hasBegun: [Bool]

    init(choiceCount: Int) {
        self.choiceCount = choiceCount
        startCounts = Array(repeating: 0, count: choiceCount + 1)
        hasBegun = Array(repeating: false, count: choiceCount)
    }

    /// Roughly the memory that it takes.
    var byteCount: Int { entries.count * MemoryLayout<Entry>.stride + text.count + reportBytes }

    // MARK: Writing

    /// The text that stands before a completion's own.
    mutating func appendEcho(_ echo: String, choice: Int) { append(.text, choice, Array(echo.utf8)) }

    /// Takes what a choice has to show out of it, and its end if it has come.
    mutating func take(_ state: inout ChoiceState, _ choice: Int, isChat: Bool) {
        if isChat, !hasBegun[choice] {
            hasBegun[choice] = true
            append(.role, choice)
        }
        if !state.text.isEmpty || !state.reports.isEmpty { append(.text, choice, state.text, state.reports) }
        if let reason = state.finish?.openAIName { append(.finish, choice, Array(reason.utf8)) }
        state.take()
    }

    /// - Parameter usage: a JSON object, if there is to be an event for it.
    mutating func complete(usage: [UInt8]?) {
        if let usage { append(.usage, choiceCount, usage) }
        append(.done, choiceCount)
        isComplete = true
    }

    mutating func fail(_ error: APIError) {
        var json = JSONWriter()
        error.write(&json)
        append(.error, choiceCount, json.bytes)
        isComplete = true
    }

    private mutating func append(_ kind: Kind, _ choice: Int, _ more: [UInt8] = [], _ new: [TokenReport] = []) {
        precondition(!isComplete, "nothing comes after an answer's end")
        text += more
        reports += new
        for report in new { reportBytes += report.byteCount }
        entries.append(Entry(kind: kind, choice: choice, textEnd: text.count, reportsEnd: reports.count))
        endIndex += 1
    }

    // MARK: Reading

    /// One event with what belongs to it.
    struct Event {
        let kind: Kind
        let choice: Int
        let text: ArraySlice<UInt8>
        let reports: ArraySlice<TokenReport>
    }

    /// - Precondition: the event is there.
    subscript(index: Int) -> Event {
        let at = index - startIndex
        let entry = entries[at]
        let before = at > 0 ? entries[at - 1] : nil
        return Event(
            kind: entry.kind, choice: entry.choice, text: text[(before?.textEnd ?? 0)..<entry.textEnd],
            reports: reports[(before?.reportsEnd ?? 0)..<entry.reportsEnd])
    }

    /// What each choice has said.
    ///
    /// - Precondition: nothing was dropped.
    func collected() -> [(text: [UInt8], reports: [TokenReport])] {
        precondition(startIndex == 0)
        var choices = Array(repeating: (text: [UInt8](), reports: [TokenReport]()), count: choiceCount)
        for index in 0..<endIndex {
            let event = self[index]
            guard event.kind == .text else { continue }
            choices[event.choice].text += event.text
            choices[event.choice].reports += event.reports
        }
        return choices
    }

    /// How many events each choice has, and last those of no choice.
    var counts: [Int] {
        entries.reduce(into: startCounts) { counts, entry in counts[entry.choice] += 1 }
    }

    /// Drops the events before one.
    mutating func drop(before index: Int) {
        let count = min(index, endIndex) - startIndex
        guard count > 0 else { return }
        for entry in entries[..<count] { startCounts[entry.choice] += 1 }
        let last = entries[count - 1]
        for report in reports[..<last.reportsEnd] { reportBytes -= report.byteCount }
        // New arrays, since to remove from the old ones would keep their memory.
        text = Array(text[last.textEnd...])
        reports = Array(reports[last.reportsEnd...])
        entries = entries[count...].map { entry in
            Entry(
                kind: entry.kind, choice: entry.choice, textEnd: entry.textEnd - last.textEnd,
                reportsEnd: entry.reportsEnd - last.reportsEnd)
        }
        startIndex += count
    }
}

extension TokenReport {
    /// Roughly the memory that it takes: each list of bytes is an allocation of its own.
    fileprivate var byteCount: Int {
        let one = MemoryLayout<Candidate>.stride + 48
        return MemoryLayout<TokenReport>.stride + one * (1 + alternatives.count)
    }
}
