import ArgumentParser
import AsyncHTTPClient
import DejaVuCore
import Foundation
import Synchronization
import UnixSignals

/// A chat in the terminal, with a server that runs already or with one that it starts for itself.
struct ChatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Chat with a model in the terminal.",
        discussion: """
            Ctrl-C stops the answer that is being written; at the prompt it leaves. /help lists what can be typed.

            EXAMPLES
              dejavu chat model.gguf
              dejavu chat --url http://127.0.0.1:8080
              echo "Why is the sky blue?" | dejavu chat model.gguf
            """)

    @Argument(help: "The GGUF file to serve and talk to; not with --url.", completion: .file(extensions: ["gguf"]))
    var model: String?
    @Option(help: "Talk to this server instead of starting one.")
    var url: String?
    @Option(help: "The key that the server asks for.")
    var apiKey: String?
    @Option(help: "What the model is told before the conversation.")
    var system: String?
    @Option(help: "0 is greedy; the server's default if not given.")
    var temperature: Double?
    @Option(help: "The most tokens in an answer.")
    var maxTokens: Int?
    @Option(help: "Compute threads of the server that is started; one for each core if not given.")
    var threads: Int?

    mutating func validate() throws {
        guard (model == nil) != (url == nil) else {
            throw ValidationError("give either a model file or --url")
        }
    }

    func run() async throws {
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        do {
            if let url {
                try await converse(at: url.hasSuffix("/") ? String(url.dropLast()) : url, over: client)
            } else if let model {
                try await ServeProcess.withServer(model: model, threads: threads) { address in
                    try await converse(at: address, over: client)
                }
            }
        } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    private func converse(at baseURL: String, over client: HTTPClient) async throws {
        let name = try await ChatClient.modelName(baseURL: baseURL, apiKey: apiKey, over: client)
        let chat = ChatClient(
            baseURL: baseURL, model: name, apiKey: apiKey, temperature: temperature, outputCountMax: maxTokens)
        var session = ChatSession(client: chat, system: system, isInteractive: isatty(STDIN_FILENO) == 1)
        if session.isInteractive { print("Talking to \(name). /help for help, Ctrl-D to leave.") }
        let signals = await UnixSignalsSequence(trapping: .sigint)
        try await session.run(over: client, signals: signals)
    }
}

/// The conversation: reads lines, keeps the history, writes answers.
struct ChatSession {
    let client: ChatClient
    let system: String?
    let isInteractive: Bool
    private var turns: [ChatClient.Turn] = []

    init(client: ChatClient, system: String?, isInteractive: Bool) {
        self.client = client
        self.system = system
        self.isInteractive = isInteractive
        reset()
    }

    private mutating func reset() {
        turns = system.map { [ChatClient.Turn(role: "system", content: $0)] } ?? []
    }

    private static let help = """
        /reset   forget the conversation
        /help    this
        /quit    leave (or Ctrl-D)
        Ctrl-C   stop the answer; at the prompt, leave
        """

    /// What the loop waits for: a typed line, or Ctrl-C.
    private enum Input { case line(String), end, interrupt }

    mutating func run(over http: HTTPClient, signals: UnixSignalsSequence) async throws {
        let (inputs, feed) = AsyncStream.makeStream(of: Input.self)
        let answer = Mutex<Task<Void, any Error>?>(nil)
        let interrupts = Task {
            for await _ in signals {
                // While an answer is written Ctrl-C belongs to it.
                if let task = answer.withLock({ $0 }) { task.cancel() } else { feed.yield(.interrupt) }
            }
        }
        defer { interrupts.cancel() }
        readLines(into: feed)
        prompt()
        for await input in inputs {
            guard case .line(let line) = input else { break }
            switch line.trimmingCharacters(in: .whitespaces) {
            case "": break
            case "/quit", "/exit": return
            case "/help": print(Self.help)
            case "/reset":
                reset()
                print("(forgotten)")
            default: try await reply(to: line, over: http, answer: answer)
            }
            prompt()
        }
        if isInteractive { print() }
    }

    private func prompt() {
        guard isInteractive else { return }
        FileHandle.standardOutput.write(Data("\n> ".utf8))
    }

    /// Standard input is read on a thread of its own: a blocking read must not hold up the cooperative pool.
    private func readLines(into feed: AsyncStream<Input>.Continuation) {
        Thread.detachNewThread {
            while let line = readLine() { feed.yield(.line(line)) }
            feed.yield(.end)
            feed.finish()
        }
    }

    private mutating func reply(
        to line: String, over http: HTTPClient, answer: borrowing Mutex<Task<Void, any Error>?>
    ) async throws {
        turns.append(ChatClient.Turn(role: "user", content: line))
        let written = Transcript()
        let task = Task { [client, turns] in
            try await client.answer(to: turns, over: http) { piece in
                switch piece {
                case .text(let text):
                    written.append(text)
                    FileHandle.standardOutput.write(Data(text.utf8))
                case .finished(let reason):
                    if reason == "length" { FileHandle.standardOutput.write(Data(" [cut: length]".utf8)) }
                }
            }
        }
        answer.withLock { $0 = task }
        let result = await task.result
        answer.withLock { $0 = nil }
        print()
        switch result {
        case .success: break
        case .failure where task.isCancelled: print("(stopped)")
        case .failure(let error) where isInteractive: print("error: \(error)")
        case .failure(let error): throw error
        }
        // A stopped answer stays in the history as far as it came; a failed one with no text is taken back.
        let text = written.text
        if text.isEmpty { turns.removeLast() } else { turns.append(ChatClient.Turn(role: "assistant", content: text)) }
    }
}

/// The text of an answer, written by one task and read by another.
private final class Transcript: Sendable {
    private let storage = Mutex("")
    func append(_ text: String) { storage.withLock { $0 += text } }
    var text: String { storage.withLock { $0 } }
}
