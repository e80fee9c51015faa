import DejaVuCore
import DejaVuKV

extension Refusal {
    func error(_ span: Span) -> DejaVuError {
        let code: DejaVuError.Code =
            switch self {
            case .unknownSequence, .oldTicket, .otherWriter, .beyondTicket, .revoked, .ended: .refused
            case .wrongLength, .incomplete: .invalidArgument
            case .otherNumericClass, .otherTokens, .wrongChecksum: .mismatch
            case .busy, .orphaned: .unavailable
            case .tooManyArrivals: .resourceExhausted
            }
        return DejaVuError(code, "the frame \(span) was refused: \(rawValue)", subject: rawValue)
    }
}
