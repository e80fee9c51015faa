import DejaVuCore

extension KVLayout {
    /// The extents of a layout's axes, from which strides follow.
    struct Size {
        let row: KVRow
        let layers: Int
        let slots: Int
        let slotLength: Int
        let regions: Regions

        static let tooLarge = DejaVuError(.resourceExhausted, "so large a KV memory cannot be addressed")

        /// - Returns: also the bytes of a region.
        func strides(_ order: Order) throws(DejaVuError) -> (strides: Strides, bytes: Int) {
            let split = order.split ?? row.headSize
            guard split > 0, row.headSize % split == 0 else {
                throw DejaVuError(.invalidArgument, "\(split) does not divide heads of \(row.headSize) elements")
            }
            var strides = Strides()
            strides.split = split
            var stride = row.elementBytes
            for axis in try complete(order.axes, split: split).reversed() {
                let extent: Int
                switch axis {
                case .layer: (strides.layer, extent) = (stride, layers)
                case .plane: (strides.plane, extent) = (stride, 2)
                case .slot: (strides.slot, extent) = (stride, slots)
                case .head: (strides.head, extent) = (stride, row.headCount)
                case .block: (strides.block, extent) = (stride, row.headSize / split)
                case .position: (strides.position, extent) = (stride, slotLength)
                case .element: (strides.element, extent) = (stride, split)
                }
                guard let next = product(stride, extent) else { throw Self.tooLarge }
                stride = next
            }
            if split == row.headSize || strides.block == split * strides.element {
                // One block, or blocks that follow one another: no split at all.
                strides.split = row.headSize
                strides.block = 0
            }
            if slots == 1 { strides.slot = 0 }
            return (strides, stride)
        }

        /// The order with the axes that may be left out.
        private func complete(_ axes: [KVAxis], split: Int) throws(DejaVuError) -> [KVAxis] {
            var wanted: [KVAxis] = [.slot, .head, .block, .position, .element]
            if regions == .perPlane || regions == .single { wanted.append(.layer) }
            if regions == .perLayer || regions == .single { wanted.append(.plane) }
            var result = axes
            if slots == 1, !axes.contains(.slot) { result.insert(.slot, at: 0) }
            if split == row.headSize, !axes.contains(.block) { result.insert(.block, at: 0) }
            guard result.count == wanted.count, wanted.allSatisfy({ result.contains($0) }) else {
                throw DejaVuError(.invalidArgument, "an order of KV names each axis once")
            }
            return result
        }
    }
}
