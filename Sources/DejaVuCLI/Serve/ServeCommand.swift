import ArgumentParser
import DejaVuCore
import Logging
import UnixSignals

/// The server: controller, HTTP and local workers.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Serve a model behind an OpenAI-compatible API.",
        discussion: """
            Starts its workers itself, and starts them again when they die; answers go on with the same text. If \
            the server itself is killed, start it again with the same options: it takes its workers over, and clients \
            that come back get the rest of their answers. \
            Ctrl-C waits for the running answers, a second one does not.

            Every option may also stand in a file (--config, lines of `name = value`) or in the environment \
            (--max-queue is DEJAVU_MAX_QUEUE).

            EXAMPLES
              dejavu serve model.gguf
              dejavu serve model.gguf --stages 2 --threads 1
              dejavu serve model.gguf --prompt-stages 1 --token-stages 2 --threads 1
              dejavu serve model.gguf --listen 0.0.0.0:8080 --api-key-file keys
              dejavu serve model.gguf --stages 2 --local-workers 1 --cluster-listen 10.0.0.5:7000 \\
                  --cluster-key-file key
            """)

    @Argument(
        help: "The GGUF file, or emulated[:PROFILE], a file or a name such as opt-66b.",
        completion: .file(extensions: ["gguf"]))
    var model: String
    @OptionGroup(title: "Topology") var topology: TopologyOptions
    @OptionGroup(title: "Devices") var device: DeviceOptions
    @OptionGroup(title: "Requests") var admission: AdmissionOptions
    @OptionGroup(title: "Access") var access: AccessOptions
    @OptionGroup(title: "Cluster") var cluster: ClusterOptions
    @OptionGroup(title: "Logging") var logging: LoggingOptions
    @OptionGroup var faults: FaultOptions
    @Flag(help: "Let the page kill workers, to show that answers go on; on loopback only.")
    var demo = false
    @Flag(help: "Write prompts to the log.")
    var logPrompts = false
    @Option(
        help: ArgumentHelp(
            "Record every event of the controller for `dejavu replay`, prompts included.", valueName: "file"))
    var record: String?
    @Option(
        help: ArgumentHelp(
            "Write what every worker does to a trace that Chrome and Perfetto show: passes, transfers, bubbles.",
            valueName: "file"), completion: .file())
    var traceOut: String?
    @Option(help: ArgumentHelp("Settings, one `name = value` a line.", valueName: "file"), completion: .file())
    var config: String?

    mutating func validate() throws {
        try topology.check()
        try device.check()
        try admission.check()
        try cluster.check()
    }

    func run() async throws {
        let logger = logging.bootstrap(label: "serve")
        let server = try await ServeProcess.start(self, logger: logger)
        let signals = await UnixSignalsSequence(trapping: [.sigint, .sigterm])
        try await server.run(until: signals)
    }
}
