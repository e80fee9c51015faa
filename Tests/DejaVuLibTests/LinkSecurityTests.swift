import DejaVuCore
import DejaVuLib
import Glibc
import NIOCore
import NIOPosix
import Testing

/// What a link between two securities comes to: how many messages arrive, or what both sides say.
private func attempt(
    _ initiator: LinkSecurity, _ acceptor: LinkSecurity, through relay: (LinkAddress) async throws -> LinkAddress
) async throws -> (link: Link?, heard: DejaVuError?, said: [DejaVuError]) {
    let door = Door()
    let listener = try await door.listen(
        at: .tcp(host: "127.0.0.1", port: 0), as: endpoint(controller(), security: acceptor))
    let address = try await relay(listener.address)
    var result: (link: Link?, heard: DejaVuError?, said: [DejaVuError]) = (nil, nil, [])
    let inbox = Inbox()
    do {
        let link = try await endpoint(worker(), security: initiator)
            .connect(to: address, on: loop()) { _ in inbox.receiver }.get()
        link.send(message(payload: [1, 2, 3]))
        let (_, far) = try await door.untilLink()
        try await far.wait("the message") { $0.messages.count == 1 }
        result.link = link
        link.close("done")
    } catch let error as DejaVuError {
        result.heard = error
        result.said = try await door.untilRefusals()
    }
    await listener.close()
    return result
}

@Test func link_ownCertificates_isEncryptedAndKnowsItsPeer() async throws {
    let result = try await attempt(.always(.selfSigned()), .always(.selfSigned())) { $0 }
    #expect(result.link?.isEncrypted == true && result.link?.peer == controller(), "\(result)")
}

@Test func link_tlsOnOneSideOnly_failsAndSaysSo() async throws {
    let plainInitiator = try await attempt(.localOnly, .always(.selfSigned())) { $0 }
    #expect(plainInitiator.heard?.message.contains("TLS") == true, "\(plainInitiator)")
    #expect(plainInitiator.said.first?.message.contains("TLS") == true, "\(plainInitiator)")
    let plainAcceptor = try await attempt(.always(.selfSigned()), .localOnly) { $0 }
    #expect(plainAcceptor.heard?.message.contains("TLS") == true, "\(plainAcceptor)")
    #expect(plainAcceptor.said.first?.message.contains("TLS") == true, "\(plainAcceptor)")
}

@Test func link_otherAddressesWithoutSecurity_areRefusedBeforeAnythingIsSent() async throws {
    let there = LinkAddress.tcp(host: "192.0.2.1", port: 7)
    let connecting = await #expect(throws: DejaVuError.self) {
        try await endpoint(worker()).connect(to: there, on: loop()) { _ in Inbox().receiver }.get()
    }
    let listening = await #expect(throws: DejaVuError.self) {
        try await Door().listen(at: there, as: endpoint(worker()))
    }
    for error in [connecting, listening] {
        #expect(error?.code == .invalidArgument && error?.message.contains("--cluster-insecure") == true)
    }
}

/// Takes TLS from one side and speaks TLS to the other, with a certificate of its own, and passes all bytes on.
private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let partner: EventLoopFuture<any Channel>
    init(partner: EventLoopFuture<any Channel>) { self.partner = partner }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        partner.whenSuccess { $0.writeAndFlush(bytes, promise: nil) }
    }
    func channelInactive(context: ChannelHandlerContext) {
        partner.whenSuccess { $0.close(promise: nil) }
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

@Test func link_manInTheMiddleWithoutTheKey_isRefusedByBoth() async throws {
    let certificate = try LinkCertificate.selfSigned()
    let eventLoop = loop()
    let result = try await attempt(.always(.selfSigned()), .always(.selfSigned())) { real in
        guard case .tcp(let host, let port) = real else { return real }
        let channel = try await ServerBootstrap(group: eventLoop).childChannelInitializer { inner in
            inner.eventLoop.makeCompletedFuture {
                let outer = ClientBootstrap(group: eventLoop).channelInitializer { outer in
                    outer.eventLoop.makeCompletedFuture {
                        try certificate.protect(outer, isClient: true)
                        try outer.pipeline.syncOperations.addHandler(
                            Relay(partner: eventLoop.makeSucceededFuture(inner)))
                    }
                }.connect(host: host, port: port)
                try certificate.protect(inner, isClient: false)
                try inner.pipeline.syncOperations.addHandler(Relay(partner: outer))
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        return .tcp(host: "127.0.0.1", port: channel.localAddress?.port ?? 0)
    }
    #expect(result.link == nil)
    #expect(result.said.first?.code == .refused, "\(result)")
    #expect(result.said.first?.message.contains("cluster key mismatch") == true, "\(result)")
    #expect(result.heard != nil)
}

@Test func handshake_proofForAnotherChannel_provesNothing() throws {
    var left = Handshake(
        side: .initiator, identity: worker(), key: key, nonce: Handshake.freshNonce(), judge: { _ in nil })
    var right = Handshake(
        side: .acceptor, identity: controller(), key: key, nonce: Handshake.freshNonce(), judge: { _ in nil })
    left.binding = [1, 2, 3]
    right.binding = [1, 2, 4]
    let hello = try #require(try right.receive(left.start()).send)
    let introduction = try #require(try left.receive(hello).send)
    #expect(throws: DejaVuError.self) { try right.receive(introduction) }
}

/// Makes an authority and certificates that it has signed, with the openssl command.
private func makeAuthority(in directory: String, _ name: String) throws -> LinkCertificateFiles {
    let script = """
        cd '\(directory)' && exec >/dev/null 2>&1 && \
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca-\(name) \
            -keyout ca-\(name).key -out ca-\(name).pem && \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=leaf-\(name) \
            -keyout \(name).key -out \(name).csr && \
        openssl x509 -req -in \(name).csr -CA ca-\(name).pem -CAkey ca-\(name).key -CAcreateserial -days 2 \
            -out \(name).pem
        """
    guard system(script) == 0 else { throw DejaVuError(.unavailable, "openssl does not work here") }
    return LinkCertificateFiles(
        certificate: "\(directory)/\(name).pem", key: "\(directory)/\(name).key",
        authority: "\(directory)/ca-\(name).pem")
}

@Test func link_certificatesOfAnAuthority_areTakenOnlyFromThatAuthority() async throws {
    var pattern = Array("/tmp/dejavu-ca-XXXXXX".utf8CString)
    let directory = try #require(mkdtemp(&pattern).map { String(cString: $0) })
    defer { system("rm -rf '\(directory)'") }
    let ours = try makeAuthority(in: directory, "ours")
    let theirs = try makeAuthority(in: directory, "theirs")
    let good = try await attempt(.always(LinkCertificate(ours)), .always(LinkCertificate(ours))) { $0 }
    #expect(good.link?.isEncrypted == true, "\(good)")
    let bad = try await attempt(.always(LinkCertificate(theirs)), .always(LinkCertificate(ours))) { $0 }
    #expect(bad.link == nil && bad.said.first?.message.contains("TLS failed") == true, "\(bad)")
    let unsigned = try await attempt(.always(.selfSigned()), .always(LinkCertificate(ours))) { $0 }
    #expect(unsigned.link == nil && unsigned.said.first?.message.contains("TLS failed") == true, "\(unsigned)")
    var missing = ours
    missing.key = directory + "/none.key"
    let error = #expect(throws: DejaVuError.self) { try LinkCertificate(missing) }
    #expect(error?.code == .invalidFile && error?.message.contains("none.key") == true)
}
