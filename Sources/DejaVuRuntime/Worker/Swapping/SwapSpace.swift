import DejaVuCore
import DejaVuEngine
import DejaVuKV
import DejaVuLib
import Glibc

/// The memory below a stage's device: for each layer one row for each cell, the first cells in host memory, the others
/// in a file.
///
/// The file is had whole when it is made, so that the disk cannot be full later. It has no name: it goes with the
/// process, however that ends. Each of its rows has a checksum in memory, and what was read is held against it.
final class SwapSpace: StageMemory, @unchecked Sendable {
    // Sendable: pointers and descriptor never change; who may touch which rows is the caller's to say.
    let rowBytes: Int
    private let layerCount: Int
    private let cellCount: Int
    /// Cells of each layer that lie in host memory.
    let hostCellCount: Int
    private let host: UnsafeMutableRawPointer?
    private let file: Int32
    private let checksums: UnsafeMutablePointer<UInt32>
    private let resources: SwapResources

    private var hostBytes: Int { layerCount * hostCellCount * rowBytes }
    private var fileCellCount: Int { cellCount - hostCellCount }

    /// - Throws: `.resourceExhausted` if there is not so much memory, or no room for the file; `.invalidArgument` if no
    ///   file can be made in the directory.
    init(layerCount: Int, cellCount: Int, rowBytes: Int, resources: SwapResources) throws(DejaVuError) {
        let granules = cellCount / CellRun.granularity
        hostCellCount = min(resources.hostCount(of: granules), granules) * CellRun.granularity
        self.layerCount = layerCount
        self.cellCount = cellCount
        self.rowBytes = rowBytes
        self.resources = resources
        let fileRowCount = layerCount * (cellCount - hostCellCount)
        let memory = try Self.memory(layerCount * hostCellCount * rowBytes)
        do throws(DejaVuError) {
            file = try Self.file(fileRowCount * rowBytes, in: resources.directory)
        } catch {
            if let memory { munmap(memory, layerCount * hostCellCount * rowBytes) }
            throw error
        }
        host = memory
        checksums = .allocate(capacity: max(1, fileRowCount))
        checksums.initialize(repeating: 0, count: max(1, fileRowCount))
    }

    deinit {
        if let host { munmap(host, hostBytes) }
        if file >= 0 { close(file) }
        checksums.deallocate()
    }

    /// Zeroed memory that costs nothing until it is written.
    private static func memory(_ byteCount: Int) throws(DejaVuError) -> UnsafeMutableRawPointer? {
        guard byteCount > 0 else { return nil }
        let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let start, start != MAP_FAILED else {
            throw DejaVuError(
                .resourceExhausted, "no memory for \(byteCount) bytes of swapped KV", subject: "host-memory")
        }
        return start
    }

    private static func file(_ byteCount: Int, in directory: String?) throws(DejaVuError) -> Int32 {
        guard byteCount > 0 else { return -1 }
        guard let directory else {
            throw DejaVuError(
                .resourceExhausted, "there is no directory for \(byteCount) bytes of swapped KV", subject: "swap-dir")
        }
        func failure(_ what: String, _ number: Int32) -> DejaVuError {
            let code: DejaVuError.Code = number == ENOSPC ? .resourceExhausted : .invalidArgument
            return DejaVuError(
                code, "\(directory): \(what): \(String(cString: strerror(number)))", subject: "swap-dir")
        }
        var path = Array("\(directory)/dejavu-swap-XXXXXX".utf8CString)
        let file = mkstemp(&path)
        guard file >= 0 else { throw failure("no file for swapped KV", errno) }
        unlink(path)
        _ = fcntl(file, F_SETFD, FD_CLOEXEC)
        let result = posix_fallocate(file, 0, byteCount)
        guard result == 0 else {
            close(file)
            throw failure("no room for \(byteCount) bytes of swapped KV", result)
        }
        return file
    }

    // MARK: StageMemory

    func read(layer: Int, cells: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) throws(DejaVuError) {
        let (near, far) = parts(layer, cells, bytes.count)
        if !near.isEmpty, let host {
            let source = UnsafeRawBufferPointer(start: host + offset(layer, near), count: near.count * rowBytes)
            bytes.copyMemory(from: source)
        }
        guard !far.isEmpty else { return }
        let target = UnsafeMutableRawBufferPointer(rebasing: bytes[(near.count * rowBytes)...])
        try move(target.count, at: fileOffset(layer, far)) { done, at in
            let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
            return pread(file, rest.baseAddress, rest.count, at)
        }
        for (row, cell) in far.enumerated() {
            let found = Checksum.of(UnsafeRawBufferPointer(rebasing: target[row * rowBytes..<(row + 1) * rowBytes]))
            guard found == checksums[checksum(layer, cell)] else {
                throw DejaVuError(
                    .invalidFile, "swapped KV came back with other bytes, in layer \(layer), cell \(cell)",
                    subject: "swap-dir")
            }
        }
    }

    func write(layer: Int, cells: Range<Int>, from bytes: UnsafeRawBufferPointer) throws(DejaVuError) {
        let (near, far) = parts(layer, cells, bytes.count)
        if !near.isEmpty, let host {
            UnsafeMutableRawBufferPointer(start: host + offset(layer, near), count: near.count * rowBytes)
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<(near.count * rowBytes)]))
        }
        guard !far.isEmpty else { return }
        let source = UnsafeRawBufferPointer(rebasing: bytes[(near.count * rowBytes)...])
        for (row, cell) in far.enumerated() {
            checksums[checksum(layer, cell)] = Checksum.of(
                UnsafeRawBufferPointer(rebasing: source[row * rowBytes..<(row + 1) * rowBytes]))
        }
        try move(source.count, at: fileOffset(layer, far)) { done, at in
            let rest = UnsafeRawBufferPointer(rebasing: source[done...])
            return pwrite(file, rest.baseAddress, rest.count, at)
        }
    }

    /// Those in host memory, and those in the file.
    private func parts(_ layer: Int, _ cells: Range<Int>, _ byteCount: Int) -> (near: Range<Int>, far: Range<Int>) {
        precondition(
            (0..<layerCount).contains(layer) && cells.lowerBound >= 0 && cells.upperBound <= cellCount
                && byteCount == cells.count * rowBytes, "rows outside of the cells")
        return (cells.clamped(to: 0..<hostCellCount), cells.clamped(to: hostCellCount..<cellCount))
    }

    private func offset(_ layer: Int, _ cells: Range<Int>) -> Int {
        (layer * hostCellCount + cells.lowerBound) * rowBytes
    }
    private func checksum(_ layer: Int, _ cell: Int) -> Int { layer * fileCellCount + cell - hostCellCount }
    private func fileOffset(_ layer: Int, _ cells: Range<Int>) -> Int { checksum(layer, cells.lowerBound) * rowBytes }

    private func move(
        _ byteCount: Int, at offset: Int, _ call: (_ done: Int, _ at: off_t) -> Int
    ) throws(DejaVuError) {
        var done = 0
        while done < byteCount {
            let count = call(done, offset + done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let reason = count < 0 ? String(cString: strerror(errno)) : "it ends too early"
                throw DejaVuError(.invalidFile, "the file with swapped KV failed: \(reason)", subject: "swap-dir")
            }
            done += count
        }
    }

    /// How long an emulated machine takes to copy rows of all layers.
    func seconds(cells: Range<Int>, accountedRowBytes: Int) -> Double {
        let near = cells.clamped(to: 0..<hostCellCount).count
        let bytes = Double(layerCount * accountedRowBytes)
        return bytes
            * (Double(near) * resources.pace.hostSecondsPerByte
                + Double(cells.count - near) * resources.pace.diskSecondsPerByte)
    }
}
