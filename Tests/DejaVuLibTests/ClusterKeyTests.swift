import DejaVuCore
import DejaVuLib
import Glibc
import Testing

private func withKeyFile(_ bytes: [UInt8], mode: mode_t = 0o600, _ body: (String) throws -> Void) throws {
    let path = "/tmp/dejavu-test-key-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    let descriptor = open(path, O_CREAT | O_WRONLY | O_EXCL, mode)
    #expect(descriptor >= 0)
    fchmod(descriptor, mode)
    _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
    defer { unlink(path) }
    try body(path)
}

@Test func clusterKey_file_isReadWithoutTrailingSpace() throws {
    try withKeyFile(Array("0123456789abcdef \n".utf8)) {
        let key = try ClusterKey(file: $0)
        #expect(key.bytes == Array("0123456789abcdef".utf8))
    }
}

@Test func clusterKey_unusableFiles_areRefusedWithTheReason() throws {
    func expect(_ part: String, _ path: String) {
        #expect { _ = try ClusterKey(file: path) } throws: {
            ($0 as? DejaVuError)?.code == .invalidFile && "\($0)".contains(part) && "\($0)".contains(path)
        }
    }
    try withKeyFile(Array("0123456789abcdef".utf8), mode: 0o644) { expect("chmod 600", $0) }
    try withKeyFile(Array("short".utf8)) { expect("5", $0) }
    try withKeyFile([UInt8](repeating: 65, count: 5000)) { expect("4096", $0) }
    expect("No such file", "/nonexistent/key")
    expect("not a regular file", "/tmp")
}

@Test func clusterKey_description_doesNotShowIt() {
    let key = ClusterKey.random()
    #expect("\(key)" == "cluster key of 32 bytes")
    #expect(key.bytes != ClusterKey.random().bytes)
}
