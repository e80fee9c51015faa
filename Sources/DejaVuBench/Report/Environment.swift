#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Where and when something was measured.
package struct MeasurementEnvironment: Hashable, Sendable, Codable {
    /// Unix time.
    package let startedAt: Double
    package let processor: String
    /// Cores that this process may use.
    package let coreCount: Int
    package let kernel: String
    package let memoryBytes: Int
    /// Mean number of runnable tasks over the last minute when the description was made: what else the machine did.
    package let loadAverage: Double?
    /// The commit that is checked out in the working directory; nil outside of a repository.
    package let commit: String?

    package static func current(startedAt: Double) -> MeasurementEnvironment {
        let loadText = BlockingFile.text(path: "/proc/loadavg")?.split(separator: " ").first
        return MeasurementEnvironment(
            startedAt: startedAt, processor: processorName(), coreCount: sysconf(Int32(_SC_NPROCESSORS_ONLN)),
            kernel: kernelRelease(), memoryBytes: sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)),
            loadAverage: loadText.flatMap { Double($0) }, commit: RepositoryCommit.ofWorkingDirectory())
    }

    private static func processorName() -> String {
        let lines = BlockingFile.text(path: "/proc/cpuinfo")?.split(separator: "\n") ?? []
        let line = lines.first { $0.hasPrefix("model name") || $0.hasPrefix("CPU implementer") }
        guard let value = line?.split(separator: ":", maxSplits: 1).dropFirst().first else { return "unknown" }
        return String(value.drop(while: \.isWhitespace))
    }

    private static func kernelRelease() -> String {
        var names = utsname()
        guard uname(&names) == 0 else { return "unknown" }
        func text<Field>(_ field: Field) -> String {
            withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return "\(text(names.sysname)) \(text(names.release)) \(text(names.machine))"
    }
}

/// The time of the day, for labels only; intervals come from the monotonic clock.
enum WallClock {
    static func secondsSince1970() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// What this process has used so far.
struct ProcessUsage {
    let cpuSeconds: Double

    static func now() -> ProcessUsage {
        var usage = rusage()
        getrusage(resourceUsageOfSelf, &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return ProcessUsage(cpuSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime))
    }
}

// Glibc declares the constant with another type than the function wants.
#if canImport(Glibc)
    private let resourceUsageOfSelf = RUSAGE_SELF.rawValue
#else
    private let resourceUsageOfSelf = RUSAGE_SELF
#endif
