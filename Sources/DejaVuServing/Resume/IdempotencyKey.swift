import Crypto

/// The name that a client has given to a request, so that the same request sent again is not another one.
struct IdempotencyKey: Hashable, Sendable {
    let name: String
    /// Of the route and the body that the name stands for.
    let digest: [UInt8]

    init(name: String, digest: [UInt8]) {
        self.name = name
        self.digest = digest
    }

    /// - Throws: 400 for a name that cannot be one.
    init?(_ name: String?, route: Route, body: [UInt8]) throws(APIError) {
        guard let name else { return nil }
        guard (1...255).contains(name.utf8.count), name.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw .invalid(
                "Idempotency-Key",
                "Invalid 'Idempotency-Key': it has 1 to 255 printable ASCII characters and no spaces.")
        }
        self.name = name
        var hash = SHA256()
        hash.update(data: Array(route.rawValue.utf8) + [0])
        hash.update(data: body)
        digest = Array(hash.finalize())
    }
}
