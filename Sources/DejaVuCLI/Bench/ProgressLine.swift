#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// One line on standard error that is written over again and again, where that is a terminal.
struct ProgressLine: Sendable {
    let isShown: Bool

    init() { isShown = isatty(STDERR_FILENO) == 1 }

    func show(_ text: String) { if isShown { put("\r\u{1B}[K" + text) } }
    func clear() { if isShown { put("\r\u{1B}[K") } }

    private func put(_ text: String) {
        // Lost progress harms nobody, so the result is not looked at.
        let bytes = Array(text.utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
