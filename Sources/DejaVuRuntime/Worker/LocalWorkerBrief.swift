import CLinux
package import DejaVuCore
package import DejaVuLib
import Glibc

/// What `serve` tells a worker that it starts, over a pipe: nothing secret is ever in an argument or the environment.
package struct LocalWorkerBrief: Hashable, Sendable {
    /// Where the child finds the pipe's end.
    package static let descriptor: Int32 = 3
    /// What a pipe takes at once.
    private static let bytesMax = 16_384

    package var key: [UInt8]
    package var controller: LinkAddress
    package var name: String
    package var peerListening: PeerListening
    package var orphanGrace: TimeSpan
    package var encryption: LinkEncryption

    package init(
        key: [UInt8], controller: LinkAddress, name: String, peerListening: PeerListening, orphanGrace: TimeSpan,
        encryption: LinkEncryption
    ) {
        self.key = key
        self.controller = controller
        self.name = name
        self.peerListening = peerListening
        self.orphanGrace = orphanGrace
        self.encryption = encryption
    }

    /// The options of the worker that is meant.
    package func options() throws(DejaVuError) -> WorkerOptions {
        var options = WorkerOptions(
            controller: controller, key: try ClusterKey(bytes: key), name: name, peerListening: peerListening)
        options.orphanGrace = orphanGrace
        options.encryption = encryption
        return options
    }

    /// Reads the brief that the parent has written, and closes the pipe. Once, at the start of a local worker.
    ///
    /// - Throws: `.invalidArgument` if there is none: the command was not started by `serve`.
    package static func receive() throws(DejaVuError) -> LocalWorkerBrief {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: bytesMax)
        while bytes.count < bytesMax {
            let count = read(descriptor, &part, bytesMax)
            if count < 0 && errno == EINTR { continue }
            if count < 0 {
                throw DejaVuError(.invalidArgument, "a local worker is started by 'dejavu serve', not by hand")
            }
            if count == 0 { break }
            bytes += part[..<count]
        }
        close(descriptor)
        return try decoded(from: bytes)
    }

    /// A pipe's reading end with the brief in it. The caller closes it.
    func pipe() throws(DejaVuError) -> Int32 {
        let bytes = encoded()
        precondition(bytes.count <= Self.bytesMax, "a brief must fit in a pipe")
        var ends: [Int32] = [-1, -1]
        let result = clinux_pipe(&ends)
        guard result == 0 else {
            throw DejaVuError(.resourceExhausted, "no pipe: \(String(cString: strerror(-result)))")
        }
        let count = bytes.withUnsafeBytes { Glibc.write(ends[1], $0.baseAddress, $0.count) }
        close(ends[1])
        guard count == bytes.count else {
            close(ends[0])
            throw DejaVuError(.resourceExhausted, "a pipe did not take \(bytes.count) bytes")
        }
        return ends[0]
    }
}

extension LocalWorkerBrief: WireValue {
    public static let wireBytesMin = 1
    public func write(to writer: inout ByteWriter) {
        writer.write(key)
        writer.write(controller.description)
        writer.write(name)
        switch peerListening {
        case .directory(let path):
            writer.write(0 as UInt8)
            writer.write(path)
        case .host(let host):
            writer.write(host == nil ? 1 as UInt8 : 2)
            if let host { writer.write(host) }
        }
        writer.write(orphanGrace)
        writer.write(encryption)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        key = try reader.readBytes()
        controller = try LinkAddress(parsing: try reader.readString())
        name = try reader.readString()
        switch try reader.read(UInt8.self) {
        case 0: peerListening = .directory(try reader.readString())
        case 1: peerListening = .host(nil)
        case 2: peerListening = .host(try reader.readString())
        default: throw DejaVuError(.network, "malformed message: unknown way to listen")
        }
        orphanGrace = try TimeSpan(from: &reader)
        encryption = try LinkEncryption(from: &reader)
    }
}
