import HTTPTypes

/// The chat page: one file without outside addresses.
enum Page {
    private static let pieces = split(PackageResources.index_html)

    /// The page with a fresh nonce, so that nothing but its own script and style runs.
    static func reply() -> Reply {
        let nonce =
            RequestIdentity.hexadecimal(.random(in: .min ... .max))
            + RequestIdentity.hexadecimal(.random(in: .min ... .max))
        let bytes = Array(pieces.joined(separator: Array(nonce.utf8)))
        let policy =
            "default-src 'none'; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; connect-src 'self'; "
            + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return Reply(
            status: 200,
            headers: [
                .contentType: "text/html; charset=utf-8", .cacheControl: "no-cache", .contentSecurityPolicy: policy,
            ], body: .bytes(bytes))
    }

    private static func split(_ page: [UInt8]) -> [[UInt8]] {
        String(decoding: page, as: UTF8.self).split(separator: "__NONCE__", omittingEmptySubsequences: false)
            .map { Array($0.utf8) }
    }
}
