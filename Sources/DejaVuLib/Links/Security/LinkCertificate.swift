import Crypto
public import DejaVuCore
package import NIOCore
import NIOSSL

/// What a process shows of itself in TLS, and whose certificates it takes. Links use TLS 1.3, and both sides show one.
public final class LinkCertificate: Sendable {
    /// SHA-256 of the certificate's DER form.
    package let fingerprint: [UInt8]
    private let client: NIOSSLContext
    private let server: NIOSSLContext
    /// Any certificate will do: the cluster key vouches for its fingerprint.
    private let takesAny: Bool

    /// A fresh certificate that nobody has signed, taking any from others. The proof of the cluster key in the link's
    /// handshake names both fingerprints, so that whoever stands between two processes with certificates of their own
    /// is refused.
    public static func selfSigned() throws(DejaVuError) -> LinkCertificate {
        do {
            let made = try SelfSignedCertificate()
            return try LinkCertificate(
                chain: [NIOSSLCertificate(bytes: made.der, format: .der)],
                key: NIOSSLPrivateKey(bytes: Array(made.keyPEM.utf8), format: .pem), roots: .certificates([]),
                takesAny: true)
        } catch {
            throw DejaVuError(.internalError, "no certificate could be made: \(error)")
        }
    }

    /// A certificate of an authority, taking only such as that authority has signed. The cluster key is proved all the
    /// same.
    ///
    /// - Throws: `.invalidFile` with what is wrong with which file.
    public convenience init(_ files: LinkCertificateFiles) throws(DejaVuError) {
        func reading<Value>(_ path: String, _ body: (String) throws -> Value) throws(DejaVuError) -> Value {
            do { return try body(path) } catch {
                throw DejaVuError(.invalidFile, "cannot use \(path) for TLS: \(error)")
            }
        }
        let chain = try reading(files.certificate) { try NIOSSLCertificate.fromPEMFile($0) }
        let key = try reading(files.key) { try NIOSSLPrivateKey(file: $0, format: .pem) }
        let authority = try reading(files.authority) { try NIOSSLCertificate.fromPEMFile($0) }
        guard !chain.isEmpty, !authority.isEmpty else {
            throw DejaVuError(.invalidFile, "\(files.certificate) and \(files.authority) must have certificates")
        }
        do {
            try self.init(chain: chain, key: key, roots: .certificates(authority), takesAny: false)
        } catch {
            throw DejaVuError(.invalidFile, "cannot use \(files.certificate) with \(files.key) for TLS: \(error)")
        }
    }

    private init(
        chain: [NIOSSLCertificate], key: NIOSSLPrivateKey, roots: NIOSSLTrustRoots, takesAny: Bool
    ) throws {
        self.takesAny = takesAny
        fingerprint = try Self.fingerprint(of: chain[0])
        func context(_ base: TLSConfiguration) throws -> NIOSSLContext {
            var configuration = base
            configuration.minimumTLSVersion = .tlsv13
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = roots
            configuration.certificateChain = chain.map { .certificate($0) }
            configuration.privateKey = .privateKey(key)
            return try NIOSSLContext(configuration: configuration)
        }
        client = try context(.makeClientConfiguration())
        server = try context(
            .makeServerConfiguration(certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key)))
    }

    private static func fingerprint(of certificate: NIOSSLCertificate) throws -> [UInt8] {
        [UInt8](SHA256.hash(data: try certificate.toDERBytes()))
    }

    /// Puts TLS in front of whatever the channel's pipeline holds.
    package func protect(_ channel: any Channel, isClient: Bool) throws {
        let pipeline = channel.pipeline.syncOperations
        switch (isClient, takesAny) {
        case (true, true):
            try pipeline.addHandler(
                NIOSSLClientHandler(
                    context: client, serverHostname: nil,
                    customVerificationCallback: { _, promise in promise.succeed(.certificateVerified) }))
        case (true, false):
            try pipeline.addHandler(NIOSSLClientHandler(context: client, serverHostname: nil))
        case (false, true):
            try pipeline.addHandler(
                NIOSSLServerHandler(
                    context: server,
                    customVerificationCallback: { _, promise in promise.succeed(.certificateVerified) }))
        case (false, false):
            try pipeline.addHandler(NIOSSLServerHandler(context: server))
        }
    }

    /// What the cluster key vouches for: the fingerprints of both sides of a channel, the initiator's first.
    ///
    /// - Throws: `.network` if the peer has shown no certificate.
    func binding(of channel: any Channel, isClient: Bool) throws(DejaVuError) -> [UInt8] {
        let other: [UInt8]?
        do {
            let certificate = try channel.pipeline.syncOperations.nioSSL_peerCertificate()
            other = try certificate.map { try Self.fingerprint(of: $0) }
        } catch {
            throw DejaVuError(.network, "the peer's certificate cannot be read: \(error)")
        }
        guard let other else { throw DejaVuError(.network, "the peer has shown no certificate") }
        return isClient ? fingerprint + other : other + fingerprint
    }

    /// What to say of an error in a channel that has no link yet.
    static func explain(_ error: any Error) -> String {
        guard error is NIOSSLError || error is BoringSSLError else { return "the connection broke: \(error)" }
        return "TLS failed: \(error). Both sides must use it, or neither (--cluster-insecure), and with --cluster-ca "
            + "both certificates must be of that authority"
    }
}

/// Where an authority's certificates are, all PEM.
public struct LinkCertificateFiles: Hashable, Sendable {
    public static let pathBytesMax = 1000
    /// This process's certificate, and those between it and the authority's.
    public var certificate: String
    public var key: String
    /// Who signs the certificates of the cluster.
    public var authority: String

    public init(certificate: String, key: String, authority: String) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }
}
