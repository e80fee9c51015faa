internal import CGGML
internal import DejaVuCore
internal import Glibc
internal import Synchronization

/// The ggml library as a whole: its version, its messages, and what happens when it gives up.
package enum GGMLLibrary {
    /// The last warnings and errors that ggml has said, for the errors that we throw.
    private static let recent = Mutex<[String]>([])
    private static let recentCountMax = 4
    private static let messageLengthMax = 300

    /// Installs our callbacks; every owner of a handle calls it first. ggml prints nothing from then on.
    static let start: Void = {
        ggml_log_set(
            { level, text, _ in
                guard level.rawValue >= GGML_LOG_LEVEL_WARN.rawValue, level != GGML_LOG_LEVEL_CONT, let text else {
                    return
                }
                GGMLLibrary.note(String(cString: text))
            }, nil)
        // ggml calls this when one of its assertions fails, and then aborts: a bug of ours, never of the input's.
        _ = ggml_set_abort_callback { text in
            guard let text else { return }
            let line = "ggml: \(String(cString: text))\n"
            _ = line.utf8.withContiguousStorageIfAvailable { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        }
        ggml_time_init()
    }()

    private static func note(_ text: String) {
        let line = String(text.prefix(messageLengthMax)).split(separator: "\n").joined(separator: " ")
        recent.withLock { lines in
            lines.append(line)
            if lines.count > recentCountMax { lines.removeFirst() }
        }
    }

    /// An error that carries what ggml said last.
    static func error(_ code: DejaVuError.Code, _ message: String) -> DejaVuError {
        let said = recent.withLock { lines in
            defer { lines.removeAll() }
            return lines.joined(separator: "; ")
        }
        return DejaVuError(code, said.isEmpty ? message : "\(message): \(said)")
    }

    package static var version: String { String(cString: ggml_version()) }

    /// What of the processor ggml was built to use; part of the numeric class, since it decides the bits.
    package static var instructionSet: String {
        _ = start
        let features: [(String, Int32)] = [
            ("avx2", ggml_cpu_has_avx2()), ("fma", ggml_cpu_has_fma()), ("f16c", ggml_cpu_has_avx()),
            ("avx_vnni", ggml_cpu_has_avx_vnni()), ("avx512", ggml_cpu_has_avx512()),
            ("avx512_vbmi", ggml_cpu_has_avx512_vbmi()), ("avx512_vnni", ggml_cpu_has_avx512_vnni()),
            ("avx512_bf16", ggml_cpu_has_avx512_bf16()), ("amx_int8", ggml_cpu_has_amx_int8()),
            ("neon", ggml_cpu_has_neon()), ("dotprod", ggml_cpu_has_dotprod()),
            ("matmul_int8", ggml_cpu_has_matmul_int8()), ("sve", ggml_cpu_has_sve()),
            ("llamafile", ggml_cpu_has_llamafile()),
        ]
        return features.filter { $0.1 != 0 }.map(\.0).joined(separator: ",")
    }
}
