import Glibc

/// A directory of two processes: a FIFO and segment files each way. It belongs to this user alone.
package struct SpoolPlace: Sendable {
    /// Whose bytes they are.
    package enum Side: String, Sendable {
        /// Of who connects.
        case near
        /// Of who listens.
        case far
        package var other: Side { self == .near ? .far : .near }
    }

    package let directory: String
    package let side: Side

    /// What rings when this side has written something.
    private func bell(of side: Side) -> String { "\(directory)/\(side.rawValue).bell" }

    /// Makes the directory with its FIFOs.
    package static func make(_ directory: String) throws(IOFailure) -> SpoolPlace {
        let place = SpoolPlace(directory: directory, side: .near)
        if mkdir(directory, 0o700) != 0 { throw IOFailure("make \(directory)", errno) }
        for side in [Side.near, .far] {
            if mkfifo(place.bell(of: side), 0o600) != 0 { throw IOFailure("make a FIFO in \(directory)", errno) }
        }
        return place
    }

    /// The descriptors to ring and to hear. Nobody else has an open end to ring the one that is heard, so that it ends
    /// when the other process does; the one that is rung cannot break.
    package func open() throws(IOFailure) -> (heard: Int32, rung: Int32) {
        let rung = try Self.open(bell(of: side), O_RDWR)
        do throws(IOFailure) { return (try Self.open(bell(of: side.other), O_RDONLY), rung) } catch {
            close(rung)
            throw error
        }
    }

    package static func open(_ path: String, _ flags: Int32) throws(IOFailure) -> Int32 {
        let descriptor = Glibc.open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw IOFailure("open \(path)", errno) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else {
            close(descriptor)
            throw IOFailure("\(path) is no FIFO", EINVAL)
        }
        return descriptor
    }

    /// Removes what this side would still have read, and all if nobody else is there who would read the rest.
    package func leave(peerHasEnded: Bool) {
        for name in Self.names(in: directory) where peerHasEnded || name.hasPrefix(side.other.rawValue) {
            unlink("\(directory)/\(name)")
        }
        rmdir(directory)
        // Stays as long as somebody listens or talks in it.
        if let slash = directory.lastIndex(of: "/") { rmdir(String(directory[..<slash])) }
    }

    package static func names(in directory: String) -> [String] {
        guard let listing = opendir(directory) else { return [] }
        defer { closedir(listing) }
        var names: [String] = []
        while let entry = readdir(listing) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
