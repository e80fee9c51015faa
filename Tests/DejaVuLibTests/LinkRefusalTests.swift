import DejaVuCore
import DejaVuLib
import NIOCore
import Testing

/// Connects with something that does not fit and returns what both sides say of it.
private func refusal(
    of initiator: LinkEndpoint, by acceptor: LinkEndpoint, at place: Place
) async throws -> (initiator: DejaVuError, acceptor: DejaVuError) {
    let door = Door()
    let listener = try await door.listen(at: place.address(), as: acceptor)
    var heard: DejaVuError?
    do { _ = try await connect(initiator, to: listener) } catch let error as DejaVuError { heard = error }
    let said = try await door.untilRefusals()[0]
    #expect(door.links.isEmpty)
    await listener.close()
    return (try #require(heard), said)
}

@Test(arguments: Place.allCases)
func handshake_otherKey_isRefusedAndNamesBothSides(place: Place) async throws {
    let (heard, said) = try await refusal(
        of: endpoint(worker("w-9"), key: .random()), by: endpoint(controller()), at: place)
    for text in [heard.message, said.message] {
        #expect(text.contains("cluster key mismatch") && text.contains("w-9") && text.contains("serve"), "\(text)")
    }
    #expect(heard.code == .refused && said.code == .refused)
}

@Test func handshake_otherModel_isRefusedAndNamesBothDigests() async throws {
    let (heard, said) = try await refusal(
        of: endpoint(worker(model: ModelID(digest: "0ddba11"))), by: endpoint(controller()), at: .unix)
    for text in [heard.message, said.message] {
        #expect(text.contains("0ddba11") && text.contains("aabbccdd") && text.contains("worker-1"), "\(text)")
    }
    #expect(heard.code == .mismatch && said.code == .mismatch)
}

@Test func handshake_otherNumericClass_isRefusedAndNamesBoth() async throws {
    let (heard, _) = try await refusal(
        of: endpoint(worker(numericClass: 0xBEEF)), by: endpoint(controller()), at: .tcp)
    #expect(heard.message.contains("beef") && heard.message.contains("class 7"), "\(heard)")
}

@Test func handshake_workerThatObeyedALaterTerm_refusesTheOldController() async throws {
    let (heard, said) = try await refusal(
        of: endpoint(worker(term: Term(number: 6, nonce: 0))), by: endpoint(controller(term: 5)), at: .unix)
    #expect(heard.message.contains("t5") && heard.message.contains("t6"), "\(heard)")
    #expect(said.code == .refused)
    let same = worker(term: Term(number: 5, nonce: 9))
    #expect(same.mismatch(with: controller(term: 5)) == nil)
}

@Test func handshake_judgeSaysNo_isToldToThePeer() async throws {
    var strict = endpoint(controller())
    strict.judge = { $0.role == .worker ? DejaVuError(.resourceExhausted, "the house is full") : nil }
    let (heard, _) = try await refusal(of: endpoint(worker()), by: strict, at: .unix)
    #expect(heard.code == .resourceExhausted)
    #expect(heard.message.contains("the house is full"))
}

@Test func connect_nobodyListens_failsWithTheAddress() async throws {
    for address in [LinkAddress.unix(path: "/tmp/dejavu-no-such.sock"), .tcp(host: "127.0.0.1", port: 1)] {
        await #expect {
            _ = try await endpoint(worker()).connect(to: address, on: loop()) { _ in { _ in } }.get()
        } throws: { error in
            (error as? DejaVuError)?.message.contains(address.description) == true
        }
    }
}

@Test func listener_tooManyLinks_turnsTheNextAway() async throws {
    var limits = LinkLimits()
    limits.linkCountMax = 2
    let door = Door()
    let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller(), limits: limits))
    let first = try await connect(endpoint(worker()), to: listener)
    _ = try await connect(endpoint(worker()), to: listener)
    let inbox = Inbox()
    // The acceptor has already answered when it counts its links, so the initiator learns of it on the open link.
    let third = try? await connect(endpoint(worker()), to: listener, inbox: inbox)
    if third != nil { #expect(try await inbox.untilClosed().error.code == .resourceExhausted) }
    #expect(door.links.count == 2)
    first.close("room for another")
    try await door.links[0].1.wait("the end") { $0.end != nil }
    _ = try await connect(endpoint(worker()), to: listener)
    for _ in 0..<400 where door.links.count < 3 { try await Task.sleep(for: .milliseconds(5)) }
    #expect(door.links.count == 3)
    await listener.close()
}
