import DejaVuCore
import DejaVuGGUF
import Foundation
import Testing

/// How many mutated files are tried: 300, or what DEJAVU_COUNT says.
private let mutationCount = ProcessInfo.processInfo.environment["DEJAVU_COUNT"].flatMap { Int($0) } ?? 300

/// Numbers that parsers get wrong.
private let awkward: [UInt64] = [
    0, 1, 7, 8, 9, 12, 13, 31, 32, 63, 64, 255, 65_535, 65_536, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, 1 << 61,
    1 << 62, 0x7FFF_FFFF_FFFF_FFFF, 1 << 63, .max - 31, .max - 7, .max,
]

/// Numbers from a seed, so that a failing file can be made again.
private struct Mutator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }

    mutating func next(below bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ (mixed >> 31)) % UInt64(bound))
    }

    /// Changes a file in one to four ways. `fields` are the offsets of the head's integers, where changes go deepest.
    mutating func mutate(_ original: [UInt8], fields: [Int]) -> [UInt8] {
        var file = original
        for _ in 0...next(below: 4) where !file.isEmpty {
            switch next(below: 6) {
            case 0: file[next(below: file.count)] ^= UInt8(1 << next(below: 8))
            case 1: file.removeLast(next(below: file.count))
            case 2:
                let start = next(below: file.count)
                file.removeSubrange(start..<min(file.count, start + 1 + next(below: 16)))
            case 3:
                let start = next(below: file.count)
                let end = min(file.count, start + 1 + next(below: 48))
                file.insert(contentsOf: Array(file[start..<end]), at: next(below: file.count))
            default:
                let width = [1, 4, 8][next(below: 3)]
                let at = fields[next(below: fields.count)]
                let value = bytes(awkward[next(below: awkward.count)]).prefix(width)
                if at + width <= file.count { file.replaceSubrange(at..<at + width, with: value) }
            }
        }
        return file
    }
}

/// Reads all that a program could read.
private func readEverything(_ file: GGUFFile) {
    for key in file.keys {
        _ = try? file.get(key, as: Int.self)
        _ = try? file.get(key, as: Double.self)
        _ = try? file.get(key, as: String.self)
        guard let array = try? file.get(key, as: MetadataArray.self) else { continue }
        _ = try? array.integers()
        _ = try? array.floats()
        _ = try? array.strings()
        _ = try? array.arrays()
        try? array.forEachString { _ = $0.reduce(0, ^) }
    }
    for tensor in file.tensors { _ = file.bytes(of: tensor).reduce(0, ^) }
    _ = file.modelID
    _ = try? ModelSummary(file)
}

@Test func mutatedFiles_areReadOrRefused_neverCrash() throws {
    let original = summaryWriter().bytes()
    let head = try GGUFFile(bytes: original).dataOffset
    // Every place where a little-endian number is small enough to be a count, a length, a type or a size.
    let fields = (4..<head - 8).filter { original[$0] != 0 && original[$0 + 1] == 0 && original[$0 + 2] == 0 }
    var refused = 0
    for seed in 0..<UInt64(mutationCount) {
        var mutator = Mutator(seed: seed)
        do {
            readEverything(try GGUFFile(bytes: mutator.mutate(original, fields: fields)))
        } catch {
            refused += 1
            #expect(!error.message.isEmpty)
            #expect(error.code == .invalidFile || error.code == .unsupported)
        }
    }
    // Most mutations hit structure; all of them being refused, or none, would mean that the fuzzing is broken.
    #expect(refused > mutationCount / 4)
    #expect(refused < mutationCount)
}
