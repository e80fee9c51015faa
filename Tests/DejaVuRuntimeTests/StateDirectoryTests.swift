import DejaVuControl
import DejaVuCore
import DejaVuRuntime
import Glibc
import Testing

private func put(_ text: String, at path: String) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
}

@Test func stateDirectory_secondHolder_isToldWhoHasIt() async throws {
    try await withDirectory { path in
        let first = try StateDirectory(path)
        #expect { _ = try StateDirectory(path) } throws: {
            ($0 as? DejaVuError)?.code == .unavailable && "\($0)".contains("process \(getpid())")
        }
        first.release()
        try StateDirectory(path).release()
    }
}

@Test func stateDirectory_terms_riseAcrossHolders() async throws {
    try await withDirectory { path in
        for number in 1...3 {
            let directory = try StateDirectory(path)
            let term = try directory.nextTerm()
            #expect(term.number == UInt64(number * 2 - 1))
            #expect(try directory.nextTerm() > term)
            directory.release()
        }
    }
}

@Test(arguments: ["", "x\n", "12", "-1\n", "99999999999999999999999\n", "18446744073709551615\n"])
func stateDirectory_damagedTerm_isNotTakenForANumber(text: String) async throws {
    try await withDirectory { path in
        let directory = try StateDirectory(path)
        put(text, at: path + "/term")
        #expect { _ = try directory.nextTerm() } throws: { ($0 as? DejaVuError)?.code == .invalidFile }
        directory.release()
    }
}

@Test func stateDirectory_othersMayLookInside_isRefused() async throws {
    try await withDirectory { path in
        mkdir(path, 0o700)
        chmod(path, 0o755)
        #expect { _ = try StateDirectory(path) } throws: { "\($0)".contains("chmod 700") }
    }
}

@Test func stateDirectory_longPath_putsItsSocketsElsewhere() async throws {
    try await withDirectory { path in
        let long = path + "/" + String(repeating: "x", count: 120)
        let directory = try StateDirectory(long)
        #expect(directory.socketDirectory.utf8.count < 40)
        directory.release()
        #expect(access(directory.socketDirectory, F_OK) != 0)
        unlink(long + "/lock")
        rmdir(long)
    }
}

@Test func service_sameStateDirectoryTwice_theSecondFails() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(options(stages: 1, in: directory), logger: quiet)
        await #expect {
            _ = try await ControllerService.start(options(stages: 1, in: directory), logger: quiet)
        } throws: {
            ($0 as? DejaVuError)?.subject == "state-dir"
        }
        await service.stop()
    }
}

@Test func stateDirectory_temporary_isRemovedUnlessItWasThereOrHoldsSomethingElse() async throws {
    try await withDirectory { path in
        let made = try StateDirectory(path, isTemporary: true)
        _ = try made.nextTerm()
        put("", at: path + "/peer-1-2.sock")
        made.release()
        #expect(access(path, F_OK) != 0)

        let kept = try StateDirectory(path, isTemporary: true)
        kept.release(keeping: true)
        #expect(access(path + "/lock", F_OK) == 0)
        let again = try StateDirectory(path, isTemporary: true)
        again.release()
        #expect(access(path + "/lock", F_OK) == 0, "it was there before")
        unlink(path + "/lock")
        rmdir(path)

        let shared = try StateDirectory(path, isTemporary: true)
        put("a", at: path + "/record")
        shared.release()
        #expect(access(path + "/record", F_OK) == 0)
    }
}

@Test func service_temporaryState_isGoneAfterStopWithItsWorkers() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) {
                $0.isStateTemporary = true
                $0.localWorkers = LocalWorkers(count: 2, arguments: ["test-worker", "worker", "0"])
                $0.localWorkers.executable = testWorkerPath
            }, logger: quiet)
        try await untilReady(service)
        let workers = service.localProcessIDs
        #expect(workers.count == 2 && access(directory, F_OK) == 0)
        await service.stop()
        for process in workers { #expect(!isAlive(process)) }
        #expect(access(directory, F_OK) != 0)
    }
}
