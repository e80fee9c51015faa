import DejaVuCore
import DejaVuKV
import DejaVuLib
import Glibc

/// A disk store in a directory of its own, which is removed afterwards.
final class BenchDisk {
    let store: DiskStore
    let directory: String

    init(_ device: BenchDevice, sequences: Int, in parent: String) throws(DejaVuError) {
        directory = "\(parent)/dejavu-bench-\(getpid())"
        let rows = device.length * device.layers.count * (sequences + 2)
        var options = DiskStore.Options(directory: directory, budget: 2 * rows * device.rowBytes + (64 << 20))
        options.sync = .onClose
        let (wanted, source) = (options, device)
        store = try blocking { () throws(DejaVuError) in
            try await DiskStore.open(
                name: "disk", layers: source.layers, rowBytes: source.rowBytes, numericClass: source.numericClass,
                options: wanted)
        }
    }

    /// Closes the store and removes its files.
    func remove() {
        let store = store
        _ = try? blocking { () throws(DejaVuError) in try await store.close() }
        guard let listing = opendir(directory) else { return }
        while let entry = readdir(listing) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { unlink("\(directory)/\(name)") }
        }
        closedir(listing)
        rmdir(directory)
    }
}
