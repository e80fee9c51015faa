import DejaVuControl
import DejaVuCore
import DejaVuTokenizer

/// One choice of an answer while it grows: from tokens to text that may be shown.
struct ChoiceState: Sendable {
    /// Shown text that has not been taken yet.
    private(set) var text: [UInt8] = []
    /// The reports of the tokens whose text has begun to show, as far as not taken yet.
    private(set) var reports: [TokenReport] = []
    /// How the choice ended; nothing is added after that.
    private(set) var finish: FinishReason?
    /// All tokens that were received, the stop token included.
    private(set) var tokenCount = 0
    /// Whether the controller has to be told that a stop string was found.
    private(set) var hasFoundStop = false

    private let wantsReports: Bool
    private let stopTokens: [TokenID]
    private var decoder = StreamDecoder()
    private var scanner: StopScanner
    private var piece: [UInt8] = []
    private var whole: [UInt8] = []
    private var shownCount = 0
    private var wholeCount = 0
    private var wholeCharacters = 0
    private var waitingReports: [TokenReport] = []

    init(request: Request, stops: [[UInt8]]) {
        wantsReports = request.sampling.topLogprobs != nil
        stopTokens = request.stopTokens
        scanner = StopScanner(stops: stops)
    }

    /// Forgets what has been written to the client.
    mutating func take() {
        text.removeAll(keepingCapacity: true)
        reports.removeAll(keepingCapacity: true)
    }

    mutating func accept(_ token: SampledToken, model: any TextModel) {
        guard finish == nil else { return }
        tokenCount += 1
        guard !stopTokens.contains(token.token) else { return }
        if wantsReports {
            waitingReports.append(
                TokenReport(token, model: model, start: wholeCount, startCharacters: wholeCharacters))
        }
        piece.removeAll(keepingCapacity: true)
        whole.removeAll(keepingCapacity: true)
        model.appendText(of: token.token, to: &piece)
        whole += decoder.append(piece).utf8
        show()
    }

    /// The choice ends for a reason of the controller's.
    mutating func end(_ reason: FinishReason) {
        guard finish == nil else { return }
        whole.removeAll(keepingCapacity: true)
        whole += decoder.finish().utf8
        show()
        guard finish == nil else { return }
        let before = text.count
        scanner.finish(into: &text)
        shownCount += text.count - before
        finish = reason
        reports += waitingReports
        waitingReports.removeAll()
    }

    private mutating func show() {
        wholeCount += whole.count
        if wantsReports { wholeCharacters += whole.count { $0 & 0xC0 != 0x80 } }
        let before = text.count
        let isStopped = scanner.push(whole, into: &text)
        shownCount += text.count - before
        if !waitingReports.isEmpty {
            let ready = waitingReports.prefix { $0.start < shownCount }.count
            reports += waitingReports.prefix(ready)
            waitingReports.removeFirst(ready)
        }
        if isStopped {
            finish = .stop
            hasFoundStop = true
            waitingReports.removeAll()
        }
    }
}
