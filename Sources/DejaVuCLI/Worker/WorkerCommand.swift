import ArgumentParser
import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import Glibc
import Logging
import UnixSignals

/// One more worker for a controller, on this machine or another.
struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker",
        abstract: "Add a worker to a running `dejavu serve`.",
        discussion: """
            The controller must listen for workers (`serve --cluster-listen`), both sides need the same key file, and \
            this machine needs the model file; only the layers that it is given are read. Links to other machines use \
            TLS 1.3; each process makes its certificate itself, and the key file vouches for it.

            Ctrl-C or SIGTERM lets the worker hand its stages over to others, without anything being computed again, \
            before it ends; the second one ends it at once.

            EXAMPLES
              dejavu worker --join 10.0.0.5:7000 --model model.gguf --cluster-key-file key
              dejavu worker --join 127.0.0.1:7000 --model model.gguf --cluster-key-file key --threads 1
            """)

    @Option(help: ArgumentHelp("The controller's address for workers.", valueName: "host:port"))
    var join: String?
    @Option(
        help: "The GGUF file that the controller serves, or emulated[:PROFILE], a file or a name such as opt-66b.",
        completion: .file())
    var model: String
    @Option(help: "The file with the secret that all processes of the cluster share.", completion: .file())
    var clusterKeyFile: String?
    @OptionGroup var encryption: EncryptionOptions
    @Option(help: "A name for people; host name and process id if not given.")
    var name: String?
    @Option(
        help: ArgumentHelp("How long to wait for a controller that is gone, with all it holds.", valueName: "seconds"))
    var orphanGrace = 60
    @OptionGroup var device: DeviceOptions
    @OptionGroup var logging: LoggingOptions
    @OptionGroup var faults: FaultOptions
    @Flag(help: .hidden)
    var local = false

    mutating func validate() throws {
        try device.check()
        if !(1...86400).contains(orphanGrace) { throw ValidationError("--orphan-grace must be 1 to 86400 seconds") }
        if local { return }
        if join == nil { throw ValidationError("--join HOST:PORT says which controller to work for") }
        if clusterKeyFile == nil { throw ValidationError("--cluster-key-file is needed: both sides prove the key") }
    }

    func run() async throws {
        let logger = logging.bootstrap(label: "worker")
        // Ctrl-C reaches the whole group of a terminal; a local worker ends when its controller says so.
        signal(SIGPIPE, SIG_IGN)
        if local { signal(SIGINT, SIG_IGN) }
        let source = try ModelSource(model)
        let memory = device.deviceMemory?.bytes ?? DeviceDefaults.kvBytes(source)
        let meter = source.makeMeter()
        let swap = source.swapResources(device, deviceBytes: memory)
        var model = source.workerModel(
            kernels: device.kernels, kvBytesMax: max(memory, swap?.byteCount ?? 0), replicaBytesMax: 0)
        model.deviceBytesMax = memory
        model.replicaBytesMax = device.replicaMemory?.bytes ?? model.kvBytesMax + (swap == nil ? 0 : memory)
        var options = try options()
        options.wires = source.makeWires()
        let worker = try WorkerProcess(
            options: options, model: model, logger: logger, meter: meter, swap: swap?.meter,
            makeEngine: source.engineFactory(device, meter: meter, swap: swap, logger: logger))
        let signals = await UnixSignalsSequence(trapping: local ? [.sigterm] : [.sigterm, .sigint])
        let watcher = Task {
            var asked = false
            for await signal in signals {
                if asked { worker.stop("\(signal)") } else { worker.drain() }
                asked = true
            }
        }
        // To give memory back takes time, which belongs to whoever has taken the stages over.
        let exit = await worker.run(ending: OSThread.giveWay)
        watcher.cancel()
        if exit.code != 0 { Diagnostics.complain("worker: \(exit.reason)") }
        throw ExitCode(exit.code)
    }

    private func options() throws -> WorkerOptions {
        if local {
            var options = try LocalWorkerBrief.receive().options()
            (options.faultDirectory, options.poisonToken) = (faults.linkFaults, faults.poisonToken)
            return options
        }
        guard let join, let clusterKeyFile else { preconditionFailure("validated before") }
        var options = WorkerOptions(
            controller: try LinkAddress(parsing: join), key: try ClusterKey(file: clusterKeyFile),
            name: name ?? "\(Machine.hostName)-\(getpid())", peerListening: .host(nil))
        options.encryption = encryption.encryption
        options.orphanGrace = .seconds(Int64(orphanGrace))
        return options
    }
}

/// What a device gets where nothing is said.
enum DeviceDefaults {
    /// KV for eight sequences of the model's full context, at most a quarter of the machine's memory.
    static func kvBytes(_ source: ModelSource) -> Int {
        min(Machine.memoryBytes / 4, 8 * source.contextLength * source.kvBytesPerPosition)
    }
}
