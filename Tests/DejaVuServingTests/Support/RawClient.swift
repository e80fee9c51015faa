import NIOCore
import NIOPosix
import Synchronization

/// A client that sends what it is told, byte for byte, and keeps what it gets.
final class RawClient: Sendable {
    private struct State {
        var text: [UInt8] = []
        var isClosed = false
        var waiters: [(condition: @Sendable (String, Bool) -> Bool, CheckedContinuation<Void, Never>)] = []
    }

    private final class Receiver: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let state = Mutex(State())

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            change { $0.text += unwrapInboundIn(data).readableBytesView }
        }
        func channelInactive(context: ChannelHandlerContext) { change { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func change(_ body: (inout State) -> Void) {
            let ready = state.withLock { state -> [CheckedContinuation<Void, Never>] in
                body(&state)
                let (text, isClosed) = (String(decoding: state.text, as: UTF8.self), state.isClosed)
                let ready = state.waiters.filter { isClosed || $0.condition(text, isClosed) }.map(\.1)
                state.waiters.removeAll { isClosed || $0.condition(text, isClosed) }
                return ready
            }
            for continuation in ready { continuation.resume() }
        }
    }

    private let channel: any Channel
    private let receiver: Receiver

    /// - Parameter reads: false to leave everything unread that the server sends.
    init(port: Int?, reads: Bool = true) async throws {
        let receiver = Receiver()
        self.receiver = receiver
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: reads)
            .channelOption(.socketOption(.so_rcvbuf), value: reads ? 1 << 18 : 4096)
            .channelInitializer { channel in channel.pipeline.addHandler(receiver) }
            .connect(host: "127.0.0.1", port: port ?? 0).get()
    }

    func send(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }
    func close() { channel.close(promise: nil) }
    func closeOutput() { channel.close(mode: .output, promise: nil) }

    func post(_ path: String, _ body: String, length: Int? = nil) {
        send(
            "POST \(path) HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                + "content-length: \(length ?? body.utf8.count)\r\n\r\n\(body)")
    }

    var text: String { receiver.state.withLock { String(decoding: $0.text, as: UTF8.self) } }

    /// Returns once the condition holds for what was received, or the server has closed.
    func wait(until condition: @escaping @Sendable (_ text: String, _ isClosed: Bool) -> Bool) async {
        await withCheckedContinuation { continuation in
            receiver.change { $0.waiters.append((condition, continuation)) }
        }
    }
    func waitForClose() async -> String {
        await wait { _, isClosed in isClosed }
        return text
    }
}
