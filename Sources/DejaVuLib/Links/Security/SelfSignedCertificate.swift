import Crypto

/// A certificate that a process makes for itself when it starts (X.509, RFC 5280; P-256).
///
/// Nobody checks its name, its signature or its dates: that it belongs to a process of the cluster is proved by the
/// cluster key, in a handshake that names its fingerprint.
struct SelfSignedCertificate {
    let der: [UInt8]
    let keyPEM: String

    init() throws {
        let key = P256.Signing.PrivateKey()
        let body = Self.body(publicKey: [UInt8](key.publicKey.derRepresentation))
        let signature = try key.signature(for: body)
        der = DER.sequence([
            body, Self.signatureAlgorithm, DER.tagged(0x03, [0] + [UInt8](signature.derRepresentation)),
        ])
        keyPEM = key.pemRepresentation
    }

    /// ecdsa-with-SHA256.
    private static let signatureAlgorithm =
        DER.sequence([[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02]])

    /// What is signed.
    private static func body(publicKey: [UInt8]) -> [UInt8] {
        let version3 = DER.tagged(0xA0, DER.tagged(0x02, [2]))
        // Positive, and not zero: the first byte is below 0x80 and above 0.
        let serial = DER.tagged(0x02, [0x40] + (0..<15).map { _ in UInt8.random(in: 0...255) })
        let commonName = DER.sequence([[0x06, 0x03, 0x55, 0x04, 0x03], DER.tagged(0x0C, Array("dejavu".utf8))])
        let name = DER.sequence([DER.tagged(0x31, commonName)])
        // The end is RFC 5280's for certificates that do not expire.
        let validity = DER.sequence([
            DER.tagged(0x17, Array("200101000000Z".utf8)), DER.tagged(0x18, Array("99991231235959Z".utf8)),
        ])
        return DER.sequence([version3, serial, signatureAlgorithm, name, validity, name, publicKey])
    }
}

/// The few forms of DER (X.690) that a certificate needs.
private enum DER {
    static func tagged(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let count = content.count
        if count < 0x80 { return [tag, UInt8(count)] + content }
        if count < 0x100 { return [tag, 0x81, UInt8(count)] + content }
        precondition(count < 0x1_0000, "a certificate is short")
        return [tag, 0x82, UInt8(count >> 8), UInt8(count & 0xFF)] + content
    }

    static func sequence(_ parts: [[UInt8]]) -> [UInt8] { tagged(0x30, parts.flatMap(\.self)) }
}
