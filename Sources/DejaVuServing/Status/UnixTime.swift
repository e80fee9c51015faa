import Glibc

/// Seconds since 1970-01-01.
func unixTime() -> Int { time(nil) }
