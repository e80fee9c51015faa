import CLinux
import Glibc

/// Puts a thread to sleep until another has something for it: a counting semaphore.
final class WakeUp: @unchecked Sendable {
    // Unchecked because of the pointer, which never changes and which sem_post and sem_wait may share.
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        let result = sem_init(semaphore, 0, 0)
        precondition(result == 0, "a semaphore could not be made")
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    /// Lets the kernel wake the calling thread when it asked to be, not a little later with others.
    static func makeTimely() { clinux_set_timer_slack(1000) }

    func signal() { sem_post(semaphore) }

    func wait() {
        while sem_wait(semaphore) != 0 {}
    }
}
