package import DejaVuCore
package import DejaVuGGUF

/// Text to tokens and back, as a model file says, with the tokens that llama.cpp makes.
///
/// Immutable, so all threads may use it at once. Time is n log n in the text's length at worst, and about ten times
/// its size in memory for a moment.
package final class Tokenizer: Sendable {
    /// A part of a chat: what the template wrote, or what somebody else did.
    package struct Piece: Hashable, Sendable {
        package let text: String
        /// Whether control tokens may stand in the text.
        package let isTemplate: Bool

        package init(_ text: String, isTemplate: Bool) {
            self.text = text
            self.isTemplate = isTemplate
        }
    }

    private enum Encoder: Sendable {
        case bytePairs(BytePairEncoder)
        case sentencePieces(SentencePieceEncoder)
    }

    /// The longest text that can be encoded, in bytes. Callers have smaller limits of their own.
    package static let textBytesMax = 1 << 28

    private let vocabulary: Vocabulary
    private let special: SpecialTokens
    private let encoder: Encoder
    private let pieces: ByteStrings
    private let endsGeneration: [Bool]

    /// Reads the `tokenizer.ggml.…` metadata. An unknown kind of tokenizer or pre-tokenizer is an error that names it.
    package init(_ file: GGUFFile) throws(DejaVuError) {
        vocabulary = try Vocabulary(file)
        special = try SpecialTokens(vocabulary)
        encoder =
            switch vocabulary.model {
            case .bytePairs: .bytePairs(try BytePairEncoder(vocabulary, file))
            case .sentencePieces: .sentencePieces(SentencePieceEncoder(vocabulary))
            }
        pieces = vocabulary.makePieces()
        var endsGeneration = [Bool](repeating: false, count: vocabulary.count)
        for token in vocabulary.endOfGeneration { endsGeneration[Int(token)] = true }
        self.endsGeneration = endsGeneration
    }

    // MARK: Tokens

    /// Tokens are `0 ..< vocabularySize`.
    package var vocabularySize: Int { vocabulary.count }
    package var bosToken: TokenID? { vocabulary.roles.beginning }
    package var eosToken: TokenID? { vocabulary.roles.end }
    package var unknownToken: TokenID? { vocabulary.roles.unknown }
    /// All tokens that end an answer, in order: end of sequence, of turn, of message, and their relatives.
    package var endOfGenerationTokens: [TokenID] { vocabulary.endOfGeneration }
    /// Whether `addSpecial` puts `bosToken` in front. A chat template may write it too; nobody removes the second one.
    package var addsBOS: Bool { vocabulary.addsBeginning }
    /// Whether `addSpecial` puts `eosToken` behind.
    package var addsEOS: Bool { vocabulary.addsEnd }

    package func contains(_ token: TokenID) -> Bool { token >= 0 && Int(token) < vocabulary.count }
    package func endsGeneration(_ token: TokenID) -> Bool { endsGeneration[Int(token)] }
    package func isControl(_ token: TokenID) -> Bool { vocabulary.attributes[Int(token)].contains(.control) }
    /// Control and unknown tokens: those that have no text in an answer.
    package func isHidden(_ token: TokenID) -> Bool {
        !vocabulary.attributes[Int(token)].isDisjoint(with: [.control, .unknown])
    }

    /// The bytes that a token stands for, perhaps a part of a character; for control tokens their name. The token must
    /// be one of the vocabulary.
    package func bytes(of token: TokenID) -> ArraySlice<UInt8> {
        precondition(contains(token), "token \(token) is not in the vocabulary")
        return pieces[Int(token)]
    }

    /// The token that a text stands for as a whole, such as `<|im_end|>`.
    package func token(named text: String) -> TokenID? { vocabulary.token(text) }

    // MARK: Encoding

    /// The tokens of a text.
    ///
    /// - `parseSpecial`: control tokens are recognised where the text spells them, as for raw prompts.
    /// - `addSpecial`: adds the tokens that the model wants at the ends of a text.
    package func encode(_ text: String, parseSpecial: Bool, addSpecial: Bool) -> [TokenID] {
        var text = text
        return text.withUTF8 { encode($0, parseSpecial: parseSpecial, addSpecial: addSpecial) }
    }

    /// The tokens of bytes, which need not be UTF-8: byte-level vocabularies read U+FFFD for what is malformed.
    package func encode(
        _ text: UnsafeBufferPointer<UInt8>, parseSpecial: Bool, addSpecial: Bool
    ) -> [TokenID] {
        encode(text, controlIn: parseSpecial ? [0..<text.count] : [], admitsControl: true, addSpecial)
    }

    /// The tokens of a chat. They are those of the joined text, but no control token comes from a piece that is not the
    /// template's: not where it spells one, not where it spells one together with its neighbours, and not, as odd
    /// vocabularies would have it, where ordinary merging arrives at one.
    package func encode(pieces: [Piece], addSpecial: Bool) -> [TokenID] {
        var bytes: [UInt8] = []
        var regions: [Range<Int>] = []
        for piece in pieces where !piece.text.isEmpty {
            let start = bytes.count
            bytes.append(contentsOf: piece.text.utf8)
            guard piece.isTemplate else { continue }
            if let last = regions.last, last.upperBound == start {
                regions[regions.count - 1] = last.lowerBound..<bytes.count
            } else {
                regions.append(start..<bytes.count)
            }
        }
        return bytes.withUnsafeBufferPointer {
            encode($0, controlIn: regions, admitsControl: false, addSpecial)
        }
    }

    private func encode(
        _ text: UnsafeBufferPointer<UInt8>, controlIn regions: [Range<Int>], admitsControl: Bool, _ addSpecial: Bool
    ) -> [TokenID] {
        precondition(text.count <= Self.textBytesMax, "text of \(text.count) bytes")
        var output: [TokenID] = []
        output.reserveCapacity(text.count / 3 + 8)
        if addSpecial, addsBOS, let bosToken { output.append(bosToken) }
        var followsSpecial = true
        for fragment in special.partition(text, controlIn: regions) {
            switch fragment {
            case .token(let token):
                output.append(token)
                followsSpecial = true
            case .text(let range):
                let part = UnsafeBufferPointer(rebasing: text[range])
                switch encoder {
                case .bytePairs(let encoder):
                    encoder.encode(part, admitsControl: admitsControl, into: &output)
                case .sentencePieces(let encoder):
                    encoder.encode(
                        part, spacePrefix: vocabulary.addsSpacePrefix && followsSpecial,
                        admitsControl: admitsControl, into: &output)
                }
                followsSpecial = false
            }
        }
        if addSpecial, addsEOS, let eosToken { output.append(eosToken) }
        return output
    }

    // MARK: Decoding

    /// The bytes of tokens one after the other, without or with the names of hidden tokens. A token that is not in the
    /// vocabulary is an error.
    package func decode(_ tokens: [TokenID], showsHidden: Bool) throws(DejaVuError) -> [UInt8] {
        var bytes: [UInt8] = []
        for token in tokens {
            guard contains(token) else {
                throw DejaVuError(
                    .invalidArgument, "token \(token) is not in the vocabulary of \(vocabularySize)",
                    subject: "tokens")
            }
            if showsHidden || !isHidden(token) { bytes.append(contentsOf: pieces[Int(token)]) }
        }
        return bytes
    }
}
