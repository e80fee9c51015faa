/// What one request may ask for.
package struct RequestLimits: Hashable, Sendable {
    package var bodyBytesMax = 4 << 20
    package var choiceCountMax = 32
    package var promptCountMax = 32
    package var messageCountMax = 4096
    package var stopCountMax = 4
    package var stopBytesMax = 256
    /// Output tokens of a request that names no maximum; nil lets it fill the context.
    package var outputCountDefault: Int?
    package var json = JSONParser.Limits()
    package init() {}
}
