package import DejaVuCore

/// An array among the metadata. The elements stay in the file: a vocabulary costs nothing until it is read.
///
/// That all elements lie inside the file was checked when the file was opened.
package struct MetadataArray: Sendable {
    package let elementType: MetadataType
    package let count: Int
    /// The name of the value in errors.
    let field: String
    /// Where the first element starts.
    let start: Int
    let file: FileBytes

    /// Calls `body` with the bytes of each string, in order. They need not be UTF-8 and are valid during the call only.
    package func forEachString(_ body: (UnsafeRawBufferPointer) -> Void) throws(DejaVuError) {
        guard elementType == .string else { throw wrongElements("string") }
        var cursor = ByteCursor(file.buffer, at: start)
        for _ in 0..<count {
            body(UnsafeRawBufferPointer(rebasing: file.buffer[try cursor.string(field)]))
        }
    }

    /// All strings; one that is not UTF-8 is an error.
    package func strings() throws(DejaVuError) -> [String] {
        guard elementType == .string else { throw wrongElements("string") }
        var result: [String] = []
        result.reserveCapacity(count)
        var cursor = ByteCursor(file.buffer, at: start)
        for index in 0..<count { result.append(try cursor.text("\(field)[\(index)]")) }
        return result
    }

    /// All elements as integers, whatever their width; an element beyond `Int` is an error.
    package func integers() throws(DejaVuError) -> [Int] {
        switch elementType {
        case .uint8: return map(UInt8.self) { Int($0) }
        case .int8: return map(UInt8.self) { Int(Int8(bitPattern: $0)) }
        case .uint16: return map(UInt16.self) { Int($0) }
        case .int16: return map(UInt16.self) { Int(Int16(bitPattern: $0)) }
        case .uint32: return map(UInt32.self) { Int($0) }
        case .int32: return map(UInt32.self) { Int(Int32(bitPattern: $0)) }
        case .int64: return map(UInt64.self) { Int(Int64(bitPattern: $0)) }
        case .uint64:
            let values = map(UInt64.self) { Int(exactly: $0) }
            let small = values.compactMap(\.self)
            guard small.count == values.count else {
                throw .invalidField(field, at: start, "has an element beyond \(Int.max)")
            }
            return small
        case .float32, .float64, .bool, .string, .array: throw wrongElements("integer")
        }
    }

    /// All elements as 32-bit floats; they must be stored as float32 or float64.
    package func floats() throws(DejaVuError) -> [Float] {
        switch elementType {
        case .float32: return map(UInt32.self) { Float(bitPattern: $0) }
        case .float64: return map(UInt64.self) { Float(Double(bitPattern: $0)) }
        default: throw wrongElements("float32")
        }
    }

    /// All elements of an array of booleans.
    package func booleans() throws(DejaVuError) -> [Bool] {
        guard elementType == .bool else { throw wrongElements("bool") }
        return map(UInt8.self) { $0 != 0 }
    }

    /// All elements of an array of arrays.
    package func arrays() throws(DejaVuError) -> [MetadataArray] {
        guard elementType == .array else { throw wrongElements("array") }
        var cursor = ByteCursor(file.buffer, at: start)
        var result: [MetadataArray] = []
        for index in 0..<count {
            result.append(try MetadataArray.skip(&cursor, of: file, field: "\(field)[\(index)]", depth: 1))
        }
        return result
    }

    private func map<Raw: FixedWidthInteger & BitwiseCopyable, T>(_: Raw.Type, _ transform: (Raw) -> T) -> [T] {
        let size = MemoryLayout<Raw>.size
        return (0..<count).map { index in
            transform(
                Raw(littleEndian: file.buffer.loadUnaligned(fromByteOffset: start + index * size, as: Raw.self)))
        }
    }

    private func wrongElements(_ wanted: String) -> DejaVuError {
        .invalidField(field, at: start, "is an array of \(elementType); wanted an array of \(wanted)")
    }

    /// Reads an array's head and steps over its elements, which checks that all of them are there.
    ///
    /// Each element takes bytes of its own, so the time is linear in the file's size whatever the counts say.
    static func skip(
        _ cursor: inout ByteCursor, of file: FileBytes, field: String, depth: Int
    ) throws(DejaVuError) -> MetadataArray {
        guard depth <= GGUFFile.arrayDepthMax else {
            throw .invalidField(field, at: cursor.offset, "has arrays nested deeper than \(GGUFFile.arrayDepthMax)")
        }
        let typeOffset = cursor.offset
        let typeNumber = try cursor.integer("element type of \(field)", as: UInt32.self)
        guard let type = MetadataType(rawValue: typeNumber) else {
            throw .invalidField("element type of \(field)", at: typeOffset, "is \(typeNumber), which is unknown")
        }
        let count = try cursor.count(ofAtLeast: type.minimumSize, "element count of \(field)")
        let array = MetadataArray(elementType: type, count: count, field: field, start: cursor.offset, file: file)
        if let size = type.fixedSize {
            _ = try cursor.bytes(count * size, field)
        } else if type == .string {
            for index in 0..<count { _ = try cursor.string("\(field)[\(index)]") }
        } else {
            for _ in 0..<count { _ = try skip(&cursor, of: file, field: field, depth: depth + 1) }
        }
        return array
    }
}
