public import DejaVuCore

/// When links are encrypted.
public enum LinkSecurity: Sendable {
    /// Never, and so only addresses of this machine are allowed.
    case localOnly
    /// TLS for all addresses but those of this machine.
    case remote(LinkCertificate)
    /// TLS for all addresses.
    case always(LinkCertificate)
    /// Never: who can read the network reads the KV, and who can write to it can break links.
    case insecure

    /// - Throws: `.invalidArgument` if a link to that address would have to be encrypted and cannot.
    func certificate(for address: LinkAddress) throws(DejaVuError) -> LinkCertificate? {
        switch self {
        case .insecure: return nil
        case .always(let certificate): return certificate
        case .remote(let certificate): return address.isLocal ? nil : certificate
        case .localOnly:
            guard address.isLocal else {
                throw DejaVuError(
                    .invalidArgument,
                    "links to \(address) would not be encrypted; say that this is meant with "
                        + "--cluster-insecure", subject: "cluster-insecure")
            }
            return nil
        }
    }
}

/// How a process is told to protect its links to other machines.
public enum LinkEncryption: Hashable, Sendable {
    /// TLS with a certificate that each process makes for itself, vouched for by the cluster key.
    case ownCertificates
    /// TLS with certificates of one authority.
    case authority(LinkCertificateFiles)
    case none

    /// Reads or makes the certificate.
    ///
    /// - Throws: `.invalidFile` with what is wrong with which file.
    public func security() throws(DejaVuError) -> LinkSecurity {
        switch self {
        case .none: .insecure
        case .ownCertificates: .remote(try .selfSigned())
        case .authority(let files): .remote(try LinkCertificate(files))
        }
    }
}

extension LinkEncryption: WireValue {
    public static let wireBytesMin = 1
    public func write(to writer: inout ByteWriter) {
        switch self {
        case .ownCertificates: writer.write(0 as UInt8)
        case .none: writer.write(1 as UInt8)
        case .authority(let files):
            writer.write(2 as UInt8)
            writer.write(files.certificate)
            writer.write(files.key)
            writer.write(files.authority)
        }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        switch try reader.read(UInt8.self) {
        case 0: self = .ownCertificates
        case 1: self = .none
        case 2:
            self = .authority(
                LinkCertificateFiles(
                    certificate: try reader.readString(), key: try reader.readString(),
                    authority: try reader.readString()))
        default: throw .malformed("unknown way to encrypt")
        }
    }
}
