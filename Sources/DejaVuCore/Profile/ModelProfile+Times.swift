/// How long passes take.
extension ModelProfile {
    /// How long a stage computes for a pass, in emulation.
    public func passTime(of pass: Pass, layers: LayerRange) -> TimeSpan {
        .seconds(min(passSeconds(of: PassLoad(pass), layerCount: layers.count) * timeScale, 1e6))
    }

    /// How long a stage of so many layers computes for a pass; never negative.
    ///
    /// A pass of prompt rows and steps takes the longer of what its rows take to compute and what its steps take to
    /// read weights and KV: max(operations / peak, bytes / bandwidth).
    public func passSeconds(of load: PassLoad, layerCount layers: Int) -> Double {
        guard load.rows > 0 else { return 0 }
        let share = Double(layers) / Double(layerCount)
        if let roofline { return passSeconds * share + seconds(roofline, load) * Double(layers) }
        return (passSeconds + measuredSeconds(load)) * share
    }

    /// One layer's.
    private func seconds(_ roofline: Roofline, _ load: PassLoad) -> Double {
        var attended = Double(load.stepPositions)
        var read = Double(load.stepPositions)
        for chunk in load.chunks {
            attended += Double(chunk.count) * (Double(chunk.first) + Double(chunk.count + 1) / 2)
            read += Double(chunk.end)
        }
        let operations =
            Double(load.rows) * roofline.operationsPerRowAndLayer
            + attended * roofline.attentionOperationsPerPositionAndLayer
        let bytes = Double(weightBytesPerLayer) + read * Double(kvBytesPerPositionAndLayer)
        return max(
            operations / (roofline.operationsPerSecond * roofline.operationEfficiency),
            bytes / (roofline.bytesPerSecond * roofline.byteEfficiency)) + roofline.layerSeconds
    }

    /// The whole model's. A chunk takes what a prompt up to its end takes beyond one up to its beginning.
    private func measuredSeconds(_ load: PassLoad) -> Double {
        var seconds = 0.0
        for chunk in load.chunks {
            seconds += max(
                promptSecondsPerSequence(tokens: chunk.end, sequences: load.chunks.count)
                    - promptSecondsPerSequence(tokens: chunk.first, sequences: load.chunks.count), 0)
        }
        if load.chunkRows > 0 { seconds *= Double(load.rows) / Double(load.chunkRows) }
        guard load.stepCount > 0 else {
            // Weights are read for a short chunk too.
            return max(seconds, stepSeconds(sequences: 1, context: Double(load.chunks.first?.end ?? 1)))
        }
        let context = Double(load.stepPositions) / Double(load.stepCount)
        return max(seconds, stepSeconds(sequences: load.stepCount, context: context))
    }

    /// How long a step of the whole model takes by the measured table: lines between its rows and beyond the last,
    /// proportional below the least number of sequences, level below the shortest context.
    public func stepSeconds(sequences: Int, context: Double) -> Double {
        guard sequences > 0 else { return 0 }
        return Self.value(
            stepTimes, curve: \.context, at: context, extendsCurves: true
        ) { curve in
            Self.value(on: curve, \.sequences, at: Double(sequences))
        }
    }

    /// How long prompts that run in one pass take, each; level beyond the measured numbers of sequences.
    public func promptSecondsPerSequence(tokens: Int, sequences: Int) -> Double {
        guard tokens > 0, sequences > 0 else { return 0 }
        return Self.value(
            promptTimes, curve: \.sequences, at: Double(sequences), extendsCurves: false
        ) { curve in
            Self.value(on: curve, \.tokens, at: Double(tokens)) / Double(curve.first?.sequences ?? 1)
        }
    }
}

// MARK: Tables

private protocol TimeRow {
    var seconds: Double { get }
}
extension ModelProfile.PromptTime: TimeRow {}
extension ModelProfile.StepTime: TimeRow {}

extension ModelProfile {
    /// Joins the values of the two curves around a place. A curve is the rows that agree in `curve`.
    private static func value<Row: TimeRow>(
        _ rows: [Row], curve: (Row) -> Int, at wanted: Double, extendsCurves: Bool, _ value: (ArraySlice<Row>) -> Double
    ) -> Double {
        // The last two curves up to the first that lies at or beyond the place.
        var left: (at: Double, rows: ArraySlice<Row>)?
        var right: (at: Double, rows: ArraySlice<Row>)?
        var start = rows.startIndex
        while start < rows.endIndex {
            let name = curve(rows[start])
            let end = rows[start...].firstIndex { curve($0) != name } ?? rows.endIndex
            (left, right) = (right, (Double(name), rows[start..<end]))
            if Double(name) >= wanted { break }
            start = end
        }
        guard let right else { return 0 }
        guard let left, wanted <= right.at || extendsCurves else { return value(right.rows) }
        let (low, high) = (value(left.rows), value(right.rows))
        return max(low + (high - low) * (wanted - left.at) / (right.at - left.at), 0)
    }

    /// Lines between the rows and beyond the last; proportional below the first.
    private static func value<Row: TimeRow>(
        on curve: ArraySlice<Row>, _ place: (Row) -> Int, at wanted: Double
    ) -> Double {
        guard let first = curve.first else { return 0 }
        if wanted <= Double(place(first)) || curve.count == 1 {
            return first.seconds * wanted / Double(place(first))
        }
        let upper = curve.firstIndex { Double(place($0)) >= wanted } ?? curve.endIndex - 1
        let (left, right) = (curve[upper - 1], curve[upper])
        let share = (wanted - Double(place(left))) / Double(place(right) - place(left))
        return max(left.seconds + (right.seconds - left.seconds) * share, 0)
    }
}
