import ArgumentParser
import DejaVuLib

/// How links to other machines are protected; nothing need be said.
struct EncryptionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "This machine's certificate for links to others, PEM; each process makes its own if not given.",
            valueName: "file"), completion: .file())
    var clusterCert: String?
    @Option(help: ArgumentHelp("The private key of --cluster-cert, PEM.", valueName: "file"), completion: .file())
    var clusterKeyPem: String?
    @Option(
        help: ArgumentHelp("Who must have signed the certificates of the others, PEM.", valueName: "file"),
        completion: .file())
    var clusterCa: String?
    @Flag(help: "Let links to other machines go unencrypted; on all machines or on none.")
    var clusterInsecure = false

    mutating func validate() throws {
        let files = [clusterCert, clusterKeyPem, clusterCa].compactMap(\.self)
        guard files.isEmpty || files.count == 3 else {
            throw ValidationError("--cluster-cert, --cluster-key-pem and --cluster-ca belong together")
        }
        if clusterInsecure, !files.isEmpty {
            throw ValidationError("--cluster-insecure makes no use of certificates")
        }
        if files.contains(where: { $0.utf8.count > LinkCertificateFiles.pathBytesMax }) {
            throw ValidationError("the path of a certificate is too long")
        }
    }

    var encryption: LinkEncryption {
        guard !clusterInsecure else { return .none }
        guard let clusterCert, let clusterKeyPem, let clusterCa else { return .ownCertificates }
        return .authority(LinkCertificateFiles(certificate: clusterCert, key: clusterKeyPem, authority: clusterCa))
    }
}
