package import DejaVuCore
package import DejaVuGGML
package import DejaVuKV
import DejaVuLib
import Synchronization

/// The KV tensors of a stage as a device store sees them: for each layer K and V, `[kv_dim, cells]`, wherever the
/// backend keeps them. Bytes move through ggml's set and get alone.
///
/// ggml copies from any thread on the CPU. A backend that has one channel for copies and computing (RPC: a socket)
/// needs a lock that both take.
package final class GGMLMemory: DeviceMemory, @unchecked Sendable {
    // Sendable: the handles never change, and which bytes are copied when is the ledger's decision.
    private let tensors: [Tensor]
    private let owner: AnyObject
    private let lock: BackendLock?

    package let regionBytes: [Int]

    /// - Parameters:
    ///   - keys: K of each layer of the stage, in order.
    ///   - values: V of each.
    ///   - owner: keeps the tensors alive.
    ///   - lock: taken around each copy.
    package init(keys: [Tensor], values: [Tensor], owner: AnyObject, lock: BackendLock? = nil) {
        precondition(keys.count == values.count && !keys.isEmpty, "K and V of each layer")
        tensors = zip(keys, values).flatMap { [$0, $1] }
        regionBytes = tensors.map(\.byteCount)
        self.owner = owner
        self.lock = lock
    }

    /// The layout of such tensors.
    ///
    /// - Parameter cellCount: rows of each tensor, a scratch row at the end included. A device store gives out whole
    ///   granules of cells, and so never the scratch row.
    /// - Throws: `.invalidArgument` if the tensors do not have these shapes.
    package static func layout(
        keys: [Tensor], values: [Tensor], row: KVRow, layers: LayerRange
    ) throws(DejaVuError) -> KVLayout {
        guard let first = keys.first, keys.count == layers.count, values.count == layers.count else {
            throw DejaVuError(.invalidArgument, "\(keys.count) and \(values.count) tensors for layers \(layers)")
        }
        for tensor in keys + values where tensor.rowStride != row.planeBytes || tensor.rows != first.rows {
            throw DejaVuError(
                .invalidArgument,
                "\(tensor.name) has \(tensor.rows) rows of \(tensor.rowStride) bytes, not \(first.rows) of "
                    + "\(row.planeBytes)")
        }
        return try .ggml(row, layers: layers, cellCount: first.rows)
    }

    package func flush(region: Int, offset: Int, into bytes: UnsafeMutableRawBufferPointer) throws(DejaVuError) {
        guard let lock else { return tensors[region].get(bytes, at: offset) }
        lock.held { tensors[region].get(bytes, at: offset) }
    }

    package func fetch(_ bytes: UnsafeRawBufferPointer, region: Int, offset: Int) throws(DejaVuError) {
        guard let lock else { return tensors[region].set(bytes, at: offset) }
        lock.held { tensors[region].set(bytes, at: offset) }
    }
}

/// One user of a backend at a time.
package final class BackendLock: Sendable {
    private let mutex = Mutex(())
    package init() {}
    package func held<Value>(_ body: () -> Value) -> Value {
        mutex.withLock { _ in body() }
    }
}
