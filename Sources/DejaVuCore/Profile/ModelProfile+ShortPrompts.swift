extension ModelProfile {
    /// The longest prompt that makes a pass with one step in it at most half as long again: shorter ones cost those who
    /// wait for their next token less than the way of their rows to other workers is worth. Whole granules of 16.
    public var shortPromptMax: Int {
        let positions = min(contextLength, 1024)
        let step = passSeconds(of: PassLoad(stepCount: 1, stepPositions: positions), layerCount: layerCount)
        guard step > 0 else { return 0 }
        var count = 0
        while count + 16 <= contextLength {
            let mixed = PassLoad(
                chunks: [PassLoad.Chunk(first: 0, count: count + 16)], stepCount: 1, stepPositions: positions)
            guard passSeconds(of: mixed, layerCount: layerCount) <= 1.5 * step else { break }
            count += 16
        }
        return count
    }
}
