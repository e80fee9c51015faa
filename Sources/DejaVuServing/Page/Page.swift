import HTTPTypes

/// The chat page: made of the files beside this one, but a single one for the browser, without outside addresses.
enum Page {
    /// The page with a fresh nonce, so that nothing but its own script and style runs.
    static func reply() -> Reply {
        let nonce =
            RequestIdentity.hexadecimal(.random(in: .min ... .max))
            + RequestIdentity.hexadecimal(.random(in: .min ... .max))
        let policy =
            "default-src 'none'; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; connect-src 'self'; "
            + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return Reply(
            status: 200,
            headers: [
                .contentType: "text/html; charset=utf-8", .cacheControl: "no-cache", .contentSecurityPolicy: policy,
            ], body: .bytes(Array(pieces.joined(separator: Array(nonce.utf8)))))
    }

    /// The page, cut where the nonce goes.
    private static let pieces: [[UInt8]] = {
        let script = [
            PackageResources.markdown_js, PackageResources.cluster_js, PackageResources.chat_js,
        ].joined()
        let page = replacing("__SCRIPT__", in: PackageResources.page_html, with: Array(script))
        return split(replacing("__STYLE__", in: page, with: PackageResources.page_css), at: "__NONCE__")
    }()

    private static func replacing(_ mark: String, in page: [UInt8], with content: [UInt8]) -> [UInt8] {
        Array(split(page, at: mark).joined(separator: content))
    }

    private static func split(_ page: [UInt8], at mark: String) -> [[UInt8]] {
        let mark = Array(mark.utf8)
        var pieces: [[UInt8]] = []
        var rest = page[...]
        while let start = rest.indices.first(where: { rest[$0...].starts(with: mark) }) {
            pieces.append(Array(rest[..<start]))
            rest = rest[(start + mark.count)...]
        }
        return pieces + [Array(rest)]
    }
}
