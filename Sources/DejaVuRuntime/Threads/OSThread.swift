import CLinux
package import DejaVuCore
import Glibc

/// A thread of the system, for work that blocks or computes: the cooperative pool must do neither.
package enum OSThread {
    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Makes every thread of this process run behind those of others from here on.
    @Sendable
    package static func giveWay() {
        // Without it everything still works.
        _ = clinux_give_way()
    }

    /// Runs a body on a new thread. Nobody joins it; the body says itself when it has ended.
    ///
    /// - Parameter name: shown by tools such as top; 15 bytes at most.
    /// - Throws: `.resourceExhausted` if the system has no more threads.
    package static func start(
        _ name: String, stackBytes: Int = 1 << 20, body: @escaping @Sendable () -> Void
    ) throws(DejaVuError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, stackBytes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let result = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                clinux_name_thread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        guard result == 0 else {
            start.release()
            throw DejaVuError(.resourceExhausted, "no thread for \(name): \(String(cString: strerror(result)))")
        }
    }
}
