import DejaVuCore
import Glibc
import NIOCore
import NIOPosix

/// How two processes of one machine find each other through a directory: who listens reads a FIFO in it, who connects
/// makes a directory of its own in it and says its name there.
package enum SpoolDoor {
    private static let nameBytes = 16
    private static let retryTime = TimeSpan.milliseconds(2)
    package static let welcome: UInt8 = 1

    package static func door(of directory: String) -> String { "\(directory)/door" }

    /// Waits for whoever connects; takes over from an earlier process that did.
    ///
    /// - Parameter prepare: makes a channel for a visitor into a link.
    /// - Throws: `.network` if the directory cannot be used.
    static func listen(
        in directory: String, on eventLoop: any EventLoop,
        prepare: @escaping @Sendable (any Channel, SpoolPlace) -> EventLoopFuture<Void>,
        failed: @escaping @Sendable (DejaVuError) -> Void
    ) async throws(DejaVuError) -> any Channel {
        let descriptor: Int32
        do throws(IOFailure) { descriptor = try openDoor(directory) } catch {
            throw DejaVuError(.network, "cannot listen at disk:\(directory): \(error)")
        }
        do {
            return try await NIOPipeBootstrap(group: eventLoop).channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Porter { name in
                            enter(
                                SpoolPlace(directory: "\(directory)/\(name)", side: .far), on: eventLoop, prepare,
                                failed)
                        })
                }
            }.takingOwnershipOfDescriptor(input: descriptor).get()
        } catch {
            close(descriptor)
            throw DejaVuError(.network, "cannot listen at disk:\(directory): \(error)")
        }
    }

    private static func openDoor(_ directory: String) throws(IOFailure) -> Int32 {
        if mkdir(directory, 0o700) != 0, errno != EEXIST { throw IOFailure("make \(directory)", errno) }
        var status = stat()
        guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
            status.st_mode & 0o077 == 0
        else { throw IOFailure("\(directory) is not a directory of this user alone", EACCES) }
        // Of links that an earlier process had: nobody is left to read them.
        for name in SpoolPlace.names(in: directory) where isName(name[...]) {
            SpoolPlace(directory: "\(directory)/\(name)", side: .far).leave(peerHasEnded: true)
        }
        // The last of them has taken the directory with it.
        if mkdir(directory, 0o700) != 0, errno != EEXIST { throw IOFailure("make \(directory)", errno) }
        unlink(door(of: directory))
        if mkfifo(door(of: directory), 0o600) != 0 { throw IOFailure("make \(door(of: directory))", errno) }
        // Also for writing, so that it does not end with the first visitor.
        return try SpoolPlace.open(door(of: directory), O_RDWR)
    }

    /// Nobody finds in any more.
    static func remove(_ directory: String) {
        unlink(door(of: directory))
        rmdir(directory)
    }

    static func isName(_ text: Substring) -> Bool {
        text.utf8.count == nameBytes && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }

    private static func enter(
        _ place: SpoolPlace, on eventLoop: any EventLoop,
        _ prepare: @escaping @Sendable (any Channel, SpoolPlace) -> EventLoopFuture<Void>,
        _ failed: @escaping @Sendable (DejaVuError) -> Void
    ) {
        do throws(IOFailure) {
            let ends = try place.open()
            var byte = welcome
            guard write(ends.rung, &byte, 1) == 1 else {
                close(ends.heard)
                close(ends.rung)
                throw IOFailure("welcome a peer", errno)
            }
            channel(over: ends, on: eventLoop) { prepare($0, place) }.whenFailure {
                failed(DejaVuError(.network, "cannot talk through \(place.directory): \($0)"))
            }
        } catch {
            failed(DejaVuError(.network, "cannot talk through \(place.directory): \(error)"))
        }
    }

    private static func channel(
        over ends: (heard: Int32, rung: Int32), on eventLoop: any EventLoop,
        _ prepare: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
    ) -> EventLoopFuture<any Channel> {
        NIOPipeBootstrap(group: eventLoop).channelInitializer(prepare)
            .takingOwnershipOfDescriptors(input: ends.heard, output: ends.rung)
    }

    // MARK: The visitor

    /// Goes to who listens in that directory.
    static func connect(
        to directory: String, within: TimeSpan, on eventLoop: any EventLoop,
        prepare: @escaping @Sendable (any Channel, SpoolPlace) -> EventLoopFuture<Void>
    ) -> EventLoopFuture<any Channel> {
        let name = Self.name()
        let promise = eventLoop.makePromise(of: (any Channel).self)
        do throws(IOFailure) {
            let door = try SpoolPlace.open(Self.door(of: directory), O_WRONLY)
            defer { close(door) }
            let place = try SpoolPlace.make("\(directory)/\(name)")
            let ends = try place.open()
            guard say(name, through: door) else {
                let failure = IOFailure("knock at \(directory)", errno)
                close(ends.heard)
                close(ends.rung)
                place.leave(peerHasEnded: true)
                throw failure
            }
            let deadline = NIODeadline.now() + TimeAmount(within)
            awaitWelcome(ends, place, until: deadline, on: eventLoop, prepare, promise)
        } catch {
            promise.fail(DejaVuError(.network, "nobody listens at disk:\(directory): \(error)"))
        }
        return promise.futureResult
    }

    /// Until the other end is open, the one that is heard looks as if the peer had ended.
    private static func awaitWelcome(
        _ ends: (heard: Int32, rung: Int32), _ place: SpoolPlace, until deadline: NIODeadline,
        on eventLoop: any EventLoop, _ prepare: @escaping @Sendable (any Channel, SpoolPlace) -> EventLoopFuture<Void>,
        _ promise: EventLoopPromise<any Channel>
    ) {
        eventLoop.scheduleTask(in: TimeAmount(retryTime)) {
            var byte: UInt8 = 0
            if read(ends.heard, &byte, 1) == 1, byte == welcome {
                channel(over: ends, on: eventLoop) { prepare($0, place) }.cascade(to: promise)
            } else if NIODeadline.now() < deadline {
                awaitWelcome(ends, place, until: deadline, on: eventLoop, prepare, promise)
            } else {
                close(ends.heard)
                close(ends.rung)
                place.leave(peerHasEnded: true)
                promise.fail(DejaVuError(.network, "nobody opens at \(place.directory)"))
            }
        }
    }

    /// One write of so few bytes is whole, however many say something at once.
    private static func say(_ name: String, through door: Int32) -> Bool {
        let said = Array("\(name)\n".utf8)
        return said.withUnsafeBytes { write(door, $0.baseAddress, $0.count) } == said.count
    }

    package static func name() -> String {
        let hex = String(UInt64.random(in: 0 ... .max), radix: 16)
        return String(repeating: "0", count: nameBytes - hex.count) + hex
    }
}

/// Reads the names of visitors from the door.
private final class Porter: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let enter: (String) -> Void
    private var heard = ""

    init(enter: @escaping (String) -> Void) { self.enter = enter }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        heard += String(decoding: bytes.readableBytesView, as: UTF8.self)
        while let end = heard.firstIndex(of: "\n") {
            let name = heard[..<end]
            if SpoolDoor.isName(name) { enter(String(name)) }
            heard.removeSubrange(...end)
        }
        // Nobody of ours says so much without an end.
        if heard.utf8.count > 4096 { heard = "" }
    }
}
