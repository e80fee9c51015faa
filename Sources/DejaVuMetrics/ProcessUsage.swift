import Glibc

/// What this process has used so far.
package struct ProcessUsage: Sendable {
    /// User and system time of all threads.
    package let cpuSeconds: Double
    package let residentBytes: Int
    /// Since 1970-01-01.
    package let startSeconds: Double

    /// Reads the figures of this moment; memory and start are 0 where the system has no /proc.
    package static func now() -> ProcessUsage {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime)
        let pages = fields("/proc/self/statm").dropFirst().first.flatMap { Int($0) } ?? 0
        return ProcessUsage(cpuSeconds: cpu, residentBytes: pages * Int(getpagesize()), startSeconds: start)
    }

    /// Field 22 of /proc/self/stat counts clock ticks from boot; /proc/stat says when that was.
    private static let start: Double = {
        // The second field is the program's name in parentheses and may hold spaces: count from behind it.
        let stat = read("/proc/self/stat")
        guard let end = stat.lastIndex(of: ")") else { return 0 }
        let rest = stat[end...].split(separator: " ")
        let boot = read("/proc/stat", limit: 1 << 20).split(separator: "\n").first { $0.hasPrefix("btime ") }
        guard rest.count > 20, let ticks = Double(rest[20]), let boot, let since = Double(boot.dropFirst(6)) else {
            return 0
        }
        return since + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }()

    private static func fields(_ path: String) -> [Substring] { read(path).split(separator: " ") }

    private static func read(_ path: String, limit: Int = 4096) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while text.count < limit {
            let count = buffer.withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            text += buffer.prefix(count)
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
}
