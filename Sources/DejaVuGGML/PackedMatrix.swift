internal import CKernels

/// A weight matrix in the layout of our own kernels. Owns its memory.
package final class PackedMatrix {
    let memory: UnsafeMutableRawPointer
    package let type: ElementType
    /// Length of a result.
    package let rows: Int
    /// Length of an argument.
    package let columns: Int
    package let byteCount: Int

    /// Changes whenever packed bytes or results do.
    package static var kernelVersion: Int { Int(DEJAVU_KERNEL_VERSION) }

    package static func canPack(_ type: ElementType, rows: Int, columns: Int) -> Bool {
        dejavu_can_pack(Int32(type.rawValue), Int64(rows), Int64(columns))
    }

    /// Packs a matrix whose rows, as ggml stores them, lie in memory one after the other.
    ///
    /// - Precondition: `canPack`.
    package init(_ type: ElementType, rows: Int, columns: Int, from weights: UnsafeRawBufferPointer) {
        precondition(PackedMatrix.canPack(type, rows: rows, columns: columns), "\(type) cannot be packed")
        precondition(type.rowBytes(columns).map { $0 * rows } == weights.count, "a matrix of another size")
        byteCount = dejavu_packed_size(Int32(type.rawValue), Int64(rows), Int64(columns))
        memory = .allocate(byteCount: byteCount, alignment: 64)
        dejavu_pack(Int32(type.rawValue), Int64(rows), Int64(columns), weights.baseAddress, memory, 0, 1)
        self.type = type
        self.rows = rows
        self.columns = columns
    }

    deinit { memory.deallocate() }
}
