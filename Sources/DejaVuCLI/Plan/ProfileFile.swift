import DejaVuCore
import FoundationEssentials

/// Profiles by name or from files.
enum ProfileFile {
    private static let bytesMax = 1 << 20

    /// - Throws: `DejaVuError` that names the file, and the field that is wrong.
    static func load(_ text: String) throws -> ModelProfile {
        if let profile = ModelProfile.named(text) { return profile }
        guard let data = try? Data(contentsOf: URL(filePath: text)) else {
            throw DejaVuError(
                .notFound,
                "cannot read the profile \(text); those without a file are "
                    + ModelProfile.named.map(\.name).joined(separator: ", "), subject: text)
        }
        guard data.count <= bytesMax else {
            throw DejaVuError(.invalidFile, "\(text) is no profile: it has \(data.count) bytes", subject: text)
        }
        do {
            return try JSONDecoder().decode(ModelProfile.self, from: data)
        } catch let error as DejaVuError {
            throw DejaVuError(error.code, "\(text): \(error.message)", subject: error.subject)
        } catch {
            throw DejaVuError(.invalidFile, "\(text) is no JSON", subject: text)
        }
    }
}
