/// One entry of the tensor directory, checked: the data lies inside the file and overlaps no other tensor's.
package struct TensorInfo: Hashable, Sendable {
    /// At most 63 bytes of UTF-8, unique in the file.
    package let name: String
    package let type: TensorType
    /// One to four sizes, each at least 1. The first one counts neighbouring elements and is a multiple of the type's
    /// block length.
    package let dimensions: [Int]
    /// Where the data starts, in bytes from the start of the file; a multiple of 8.
    package let offset: Int
    package let byteCount: Int

    package var elementCount: Int { dimensions.reduce(1, *) }
    /// The bytes of one run along the first dimension.
    package var rowByteCount: Int { dimensions[0] / type.blockLength * type.blockByteCount }
    package var byteRange: Range<Int> { offset..<offset + byteCount }

    /// The bytes that a tensor takes, or nil if a size is not positive, the sizes overflow or they do not fill whole
    /// blocks.
    package static func byteCount(of type: TensorType, dimensions: [Int]) -> Int? {
        guard let first = dimensions.first, first % type.blockLength == 0 else { return nil }
        var elements = 1
        for size in dimensions {
            let (product, overflow) = elements.multipliedReportingOverflow(by: size)
            guard size > 0, !overflow else { return nil }
            elements = product
        }
        let (bytes, overflow) = (elements / type.blockLength).multipliedReportingOverflow(by: type.blockByteCount)
        return overflow ? nil : bytes
    }
}
