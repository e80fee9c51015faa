import DejaVuCore
import Testing

private let prompt: [TokenID] = [5, 900, 31, 31, 2]

private func text(_ prompt: [TokenID], seed: UInt64? = nil, stop: [TokenID] = []) -> [TokenID] {
    var sampling = SamplingParameters.greedy
    if let seed {
        sampling.temperature = 1
        sampling.seed = seed
    }
    return EmulatedChain.continuation(
        of: prompt, count: 40, layerCount: 4, vocabularyCount: 1000, sampling: sampling, stopTokens: stop)
}

/// Runs the chain row by row over rows that the test may spoil before the last position reads them.
private func lastOutput(spoil: (inout [[UInt64]]) -> Void) -> UInt64 {
    var rows = [[UInt64]](repeating: [], count: 4)
    var value: UInt64 = 0
    for (position, token) in prompt.enumerated() {
        if position == prompt.count - 1 { spoil(&rows) }
        value = EmulatedChain.embedding(of: token)
        for layer in 0..<4 {
            rows[layer].append(EmulatedChain.row(input: value, layer: layer, position: position))
            let attended = rows[layer].enumerated().reduce(UInt64(0)) {
                $0 &+ EmulatedChain.contribution(of: $1.element, at: $1.offset)
            }
            value = EmulatedChain.output(input: value, attended: attended)
        }
    }
    return value
}

@Test func emulatedChain_rowByRow_isTheContinuation() {
    let token = EmulatedChain.token(
        output: lastOutput { _ in }, sampling: .greedy, position: prompt.count, vocabularyCount: 1000)
    #expect(token == text(prompt)[0])
}

/// "One lost, stale or misplaced row anywhere changes the text."
@Test(arguments: 0..<4, 0..<4)
func emulatedChain_anyRowSpoiled_changesTheOutput(layer: Int, position: Int) {
    let right = lastOutput { _ in }
    #expect(lastOutput { $0[layer][position] = 0 } != right, "lost")
    #expect(lastOutput { $0[layer][position] ^= 1 } != right, "stale")
    #expect(lastOutput { $0[layer].swapAt(position, (position + 1) % 4) } != right, "misplaced")
}

@Test func emulatedChain_promptOrSeed_decidesTheText() {
    #expect(text(prompt) == text(prompt) && text(prompt).count == 40)
    #expect(text(prompt) != text([5, 900, 31, 30, 2]))
    #expect(text(prompt, seed: 1) != text(prompt, seed: 2) && text(prompt, seed: 1) == text(prompt, seed: 1))
    #expect(Set(text(prompt)).count > 20, "the text does not repeat itself")
    let stop = text(prompt)[10]
    #expect(text(prompt, stop: [stop]).last == stop && text(prompt, stop: [stop]).count <= 11)
}
