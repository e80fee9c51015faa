internal import CKernels

/// A weight matrix in the layout of our own kernels: in memory of its own, or in memory that someone else keeps.
package final class PackedMatrix {
    /// Where packed matrices must begin, and what their sizes are multiples of.
    package static let alignment = 64

    let memory: UnsafeRawPointer
    package let type: ElementType
    /// Length of a result.
    package let rows: Int
    /// Length of an argument.
    package let columns: Int
    package let byteCount: Int
    private let storage: Storage

    private enum Storage {
        case own(UnsafeMutableRawPointer)
        case foreign(AnyObject)
    }

    /// Changes whenever packed bytes or results do.
    package static var kernelVersion: Int { Int(DEJAVU_KERNEL_VERSION) }

    package static func canPack(_ type: ElementType, rows: Int, columns: Int) -> Bool {
        dejavu_can_pack(Int32(type.rawValue), Int64(rows), Int64(columns))
    }

    /// The bytes of a packed matrix.
    ///
    /// - Precondition: `canPack`.
    package static func byteCount(_ type: ElementType, rows: Int, columns: Int) -> Int {
        precondition(canPack(type, rows: rows, columns: columns), "\(type) cannot be packed")
        return dejavu_packed_size(Int32(type.rawValue), Int64(rows), Int64(columns))
    }

    /// Packs a matrix whose rows, as ggml stores them, lie in memory one after the other.
    ///
    /// - Precondition: `canPack`; the target is aligned and has exactly `byteCount` bytes.
    package static func pack(
        _ type: ElementType, rows: Int, columns: Int, from weights: UnsafeRawBufferPointer,
        into target: UnsafeMutableRawBufferPointer
    ) {
        precondition(type.rowBytes(columns).map { $0 * rows } == weights.count, "a matrix of another size")
        precondition(target.count == byteCount(type, rows: rows, columns: columns), "a target of another size")
        dejavu_pack(Int32(type.rawValue), Int64(rows), Int64(columns), weights.baseAddress, target.baseAddress, 0, 1)
    }

    /// Packs a matrix into memory of its own.
    ///
    /// - Precondition: `canPack`.
    package init(_ type: ElementType, rows: Int, columns: Int, from weights: UnsafeRawBufferPointer) {
        byteCount = PackedMatrix.byteCount(type, rows: rows, columns: columns)
        let own = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: PackedMatrix.alignment)
        guard let base = own.baseAddress else { preconditionFailure("a packed matrix without bytes") }
        PackedMatrix.pack(type, rows: rows, columns: columns, from: weights, into: own)
        memory = UnsafeRawPointer(base)
        storage = .own(base)
        self.type = type
        self.rows = rows
        self.columns = columns
    }

    /// A matrix that was packed before, by these kernels, and that `owner` keeps where it is.
    ///
    /// - Precondition: `canPack`; the memory is aligned and has exactly `byteCount` bytes.
    package init(
        _ type: ElementType, rows: Int, columns: Int, packed: UnsafeRawBufferPointer, owner: AnyObject
    ) {
        byteCount = PackedMatrix.byteCount(type, rows: rows, columns: columns)
        guard let base = packed.baseAddress, packed.count == byteCount,
            UInt(bitPattern: base) % UInt(PackedMatrix.alignment) == 0
        else { preconditionFailure("packed bytes of another size or alignment") }
        memory = base
        storage = .foreign(owner)
        self.type = type
        self.rows = rows
        self.columns = columns
    }

    deinit {
        if case .own(let memory) = storage { memory.deallocate() }
    }
}

/// Finds damage in bytes that were stored, at the speed of memory; no protection against who means it.
package func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 { dejavu_checksum(bytes.baseAddress, bytes.count) }
