#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The functions of the C mathematics library that the load needs, under a name that does not collide with others.
enum CMath {
    static func log(_ x: Double) -> Double {
        #if canImport(Darwin)
            Darwin.log(x)
        #elseif canImport(Musl)
            Musl.log(x)
        #else
            Glibc.log(x)
        #endif
    }

    static func exp(_ x: Double) -> Double {
        #if canImport(Darwin)
            Darwin.exp(x)
        #elseif canImport(Musl)
            Musl.exp(x)
        #else
            Glibc.exp(x)
        #endif
    }

    static func cos(_ x: Double) -> Double {
        #if canImport(Darwin)
            Darwin.cos(x)
        #elseif canImport(Musl)
            Musl.cos(x)
        #else
            Glibc.cos(x)
        #endif
    }
}
