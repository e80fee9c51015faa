package import DejaVuControl
package import DejaVuCore
import DejaVuLib
package import NIOCore

/// What a heartbeat says on its own link: a worker's sign of life, under the term that it obeys. Whose it is says the
/// link's handshake.
package struct WorkerBeat: Hashable, Sendable {
    package let term: Term
    package let heartbeat: WorkerHeartbeat

    package init(term: Term, heartbeat: WorkerHeartbeat) {
        self.term = term
        self.heartbeat = heartbeat
    }

    package var content: ByteBuffer {
        var writer = ByteWriter()
        writer.write(term)
        writer.write(heartbeat)
        return writer.buffer
    }

    /// - Throws: `.network` for anything that `content` does not make.
    package init(_ content: ByteBuffer) throws(DejaVuError) {
        var reader = ByteReader(content)
        self.init(term: try Term(from: &reader), heartbeat: try WorkerHeartbeat(from: &reader))
        try reader.finish()
    }
}
