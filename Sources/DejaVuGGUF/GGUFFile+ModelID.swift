import Crypto
import DejaVuCore

extension GGUFFile {
    /// How much of each end of a tensor goes into the digest.
    private static let sampleByteCount = 4096

    /// SHA-256 over the file's length, everything in front of the tensor data, and the first and last 4096 bytes of
    /// each tensor. Two files with one id are the same model unless someone made them to differ in between.
    func computeModelID() -> ModelID {
        var hash = SHA256()
        withUnsafeBytes(of: UInt64(byteCount).littleEndian) { hash.update(bufferPointer: $0) }
        let headEnd = min(dataOffset, byteCount)
        hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file.buffer[..<headEnd]))
        for tensor in tensors {
            let data = bytes(of: tensor)
            let sample = Self.sampleByteCount
            if data.count <= 2 * sample {
                hash.update(bufferPointer: data)
            } else {
                hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: data[..<sample]))
                hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: data[(data.count - sample)...]))
            }
        }
        // Whoever reads tensors later brings their pages back; a controller or a standby never does.
        file.advise(.dontNeed, headEnd..<byteCount)
        let digits = Array("0123456789abcdef")
        var text = ""
        for byte in hash.finalize() {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return ModelID(digest: text)
    }
}
