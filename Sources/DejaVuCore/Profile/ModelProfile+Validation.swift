extension ModelProfile {
    private static let countMax = 1 << 24
    private static let bytesMax = 1 << 50
    private static let rateMax = 1e18
    private static let secondsMax = 3600.0
    private static let tableRowsMax = 1024

    /// - Throws: `.invalidArgument` with the name of the first value that makes no sense.
    public func validate() throws(DejaVuError) {
        try validateShape()
        try validateMachine()
        try validateTimes()
    }

    private func require(_ condition: Bool, _ subject: String, _ rule: String) throws(DejaVuError) {
        guard condition else {
            throw DejaVuError(.invalidArgument, "the profile '\(name)': \(subject) \(rule)", subject: subject)
        }
    }

    private func require(_ value: Int, _ range: ClosedRange<Int>, _ subject: String) throws(DejaVuError) {
        try require(
            range.contains(value), subject, "must be \(range.lowerBound) to \(range.upperBound), not \(value)")
    }

    private func require(_ value: Double, _ range: ClosedRange<Double>, _ subject: String) throws(DejaVuError) {
        try require(
            value.isFinite && range.contains(value), subject,
            "must be \(range.lowerBound) to \(range.upperBound), not \(value)")
    }

    private func validateShape() throws(DejaVuError) {
        try require(!name.isEmpty && name.utf8.count <= 256, "name", "must have 1 to 256 bytes")
        try require(
            source.count <= 256 && source.allSatisfy { $0.utf8.count <= 4096 }, "source",
            "must be at most 256 lines of 4096 bytes")
        try require(layerCount, 1...10_000, "layerCount")
        try require(vocabularyCount, 1...Self.countMax, "vocabularyCount")
        try require(contextLength, 2...Self.countMax, "contextLength")
        try require(hiddenRowBytes, 1...Self.countMax, "hiddenRowBytes")
        try require(kvBytesPerPositionAndLayer, 1...Self.countMax, "kvBytesPerPositionAndLayer")
        try require(weightBytesPerLayer, 0...Self.bytesMax, "weightBytesPerLayer")
        try require(byteScale, 1...Self.countMax, "byteScale")
        try require(timeScale, 0...1000, "timeScale")
    }

    private func validateMachine() throws(DejaVuError) {
        try require(deviceMemoryBytes, 0...Self.bytesMax, "deviceMemoryBytes")
        try require(hostMemoryBytes, 0...Self.bytesMax, "hostMemoryBytes")
        try require(copyBytesPerSecond, 0...Self.rateMax, "copyBytesPerSecond")
        try require(diskBytesPerSecond, 0...Self.rateMax, "diskBytesPerSecond")
        try require(linkBytesPerSecond, 0...Self.rateMax, "linkBytesPerSecond")
        try require(linkSeconds, 0...Self.secondsMax, "linkSeconds")
    }

    private func validateTimes() throws(DejaVuError) {
        try require(passSeconds, 0...Self.secondsMax, "passSeconds")
        try require(promptTimes.count <= Self.tableRowsMax, "promptTimes", "has more than \(Self.tableRowsMax) rows")
        try require(stepTimes.count <= Self.tableRowsMax, "stepTimes", "has more than \(Self.tableRowsMax) rows")
        for (index, time) in promptTimes.enumerated() {
            let name = "promptTimes[\(index)]"
            try require(time.sequences, 1...Self.countMax, name + ".sequences")
            try require(time.tokens, 1...Self.countMax, name + ".tokens")
            try require(time.seconds, 0...Self.secondsMax, name + ".seconds")
            guard index > 0 else { continue }
            let before = promptTimes[index - 1]
            try require(
                (before.sequences, before.tokens) < (time.sequences, time.tokens), name,
                "must come after the row before it, by sequences and then by tokens")
        }
        for (index, time) in stepTimes.enumerated() {
            let name = "stepTimes[\(index)]"
            try require(time.sequences, 1...Self.countMax, name + ".sequences")
            try require(time.context, 0...Self.countMax, name + ".context")
            try require(time.seconds, 0...Self.secondsMax, name + ".seconds")
            guard index > 0 else { continue }
            let before = stepTimes[index - 1]
            try require(
                (before.context, before.sequences) < (time.context, time.sequences), name,
                "must come after the row before it, by context and then by sequences")
        }
        guard let roofline else { return }
        try require(
            promptTimes.isEmpty && stepTimes.isEmpty, "roofline", "and measured times exclude each other")
        try require(roofline.operationsPerRowAndLayer, 0...Self.rateMax, "roofline.operationsPerRowAndLayer")
        try require(
            roofline.attentionOperationsPerPositionAndLayer, 0...Self.rateMax,
            "roofline.attentionOperationsPerPositionAndLayer")
        try require(roofline.operationsPerSecond, 1...Self.rateMax, "roofline.operationsPerSecond")
        try require(roofline.bytesPerSecond, 1...Self.rateMax, "roofline.bytesPerSecond")
        try require(roofline.operationEfficiency, 0.001...1, "roofline.operationEfficiency")
        try require(roofline.byteEfficiency, 0.001...1, "roofline.byteEfficiency")
        try require(roofline.layerSeconds, 0...Self.secondsMax, "roofline.layerSeconds")
    }
}
