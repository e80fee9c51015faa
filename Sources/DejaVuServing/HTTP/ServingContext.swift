package import Hummingbird
import NIOCore

/// What a request brings besides itself.
package struct ServingContext: InitializableFromSource, Sendable {
    let peer: String?

    package init(source: ApplicationRequestContextSource) {
        peer = source.channel.remoteAddress?.ipAddress
    }
}
