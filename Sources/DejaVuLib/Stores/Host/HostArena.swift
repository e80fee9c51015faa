import DejaVuCore
import DejaVuKV
import Glibc

/// One mapping of anonymous memory, given out in pieces of whole pages. Pages cost nothing until they are written, and
/// stay when a piece comes back, since fresh ones cost a fault each.
struct HostArena: ~Copyable, @unchecked Sendable {
    // Sendable: the pointer never changes, and who may touch which bytes is the ledger's decision.
    private static let hugePageBytes = 2 << 20
    /// `CellAllocator` hands out multiples of 256 units: pages of 4 KB.
    static let unitBytes = 16

    let base: UnsafeMutableRawPointer
    let byteCount: Int
    /// Whether the kernel was asked for huge pages and has not refused. What it gave is in `/proc/self/smaps`.
    let hugePages: Bool

    /// - Throws: `.invalidArgument` without a page, `.resourceExhausted` if there is no such address space.
    init(byteCount wanted: Int, hugePages wantsHugePages: Bool) throws(DejaVuError) {
        let granule = CellRun.granularity * Self.unitBytes
        byteCount = wanted / granule * granule
        guard byteCount > 0, byteCount < 1 << 46 else {
            throw DejaVuError(.invalidArgument, "no store has \(wanted) bytes of memory", subject: "budget")
        }
        // Room to begin at a huge page.
        let mapped = byteCount + Self.hugePageBytes
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let start = mmap(nil, mapped, PROT_READ | PROT_WRITE, flags, -1, 0), start != MAP_FAILED else {
            throw DejaVuError(.resourceExhausted, "cannot map \(byteCount) bytes: \(IOFailure.text(errno))")
        }
        let address = Int(bitPattern: start)
        let skipped = (Self.hugePageBytes - address % Self.hugePageBytes) % Self.hugePageBytes
        base = start + skipped
        if skipped > 0 { munmap(start, skipped) }
        if skipped < Self.hugePageBytes { munmap(base + byteCount, Self.hugePageBytes - skipped) }
        hugePages = wantsHugePages && madvise(base, byteCount, MADV_HUGEPAGE) == 0
    }

    deinit { munmap(base, byteCount) }

    /// Touches every page, so that later writes meet no faults.
    func prefault() {
        for offset in stride(from: 0, to: byteCount, by: 4096) {
            (base + offset).storeBytes(of: 0, as: UInt8.self)
        }
    }
}
