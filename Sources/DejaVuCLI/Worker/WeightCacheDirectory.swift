/// Where the workers of this machine share their packed weights.
package enum WeightCacheDirectory {
    /// - Parameter option: what was given for `--weight-cache`.
    /// - Returns: nil if every worker is to keep its own, because that was asked for or there is no home.
    package static func resolve(_ option: String?, environment: [String: String]) -> String? {
        if let option { return option == "off" ? nil : option }
        // As XDG's specification has it: a path that is not absolute is ignored.
        if let caches = environment["XDG_CACHE_HOME"], caches.hasPrefix("/") { return caches + "/dejavu" }
        return environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 + "/.cache/dejavu" : nil }
    }
}
