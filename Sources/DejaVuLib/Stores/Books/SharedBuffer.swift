import NIOCore
import Synchronization

/// A buffer that a thread fills while its task waits.
final class SharedBuffer: Sendable {
    let value: Mutex<ByteBuffer>
    init(_ buffer: ByteBuffer) { value = Mutex(buffer) }
}
