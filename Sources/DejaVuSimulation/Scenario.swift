package import DejaVuControl
package import DejaVuCore

/// Everything that decides a run: machines, load and faults. Made from a seed, or by hand.
package struct Scenario: Hashable, Codable, Sendable {
    package struct Worker: Hashable, Codable, Sendable {
        package var kvBytesMax: Int
        /// What of that its device holds at one time; nil for all.
        package var deviceBytesMax: Int?
        /// Whether there is memory below its device.
        var swaps: Bool { (deviceBytesMax ?? kvBytesMax) < kvBytesMax }
        /// What it takes to bring one row of one layer to the device.
        package var fetchCost = TimeSpan.microseconds(1)
        /// What it may hold for others while it runs no stage.
        package var replicaBytesMax = 0
        /// A pass costs this, and this for each row.
        package var passCost: TimeSpan
        package var rowCost: TimeSpan
        package var loadTime: TimeSpan
        /// A local worker is killed when it is dismissed; another one only loses its link, and comes back.
        package var isLocal: Bool
        /// After its end a new process begins in its place; nil if none does.
        package var restartDelay: TimeSpan?
        /// When it first starts.
        package var startAt: Instant = .zero

        package init(
            kvBytesMax: Int, passCost: TimeSpan, rowCost: TimeSpan, loadTime: TimeSpan, isLocal: Bool,
            restartDelay: TimeSpan?
        ) {
            self.kvBytesMax = kvBytesMax
            self.passCost = passCost
            self.rowCost = rowCost
            self.loadTime = loadTime
            self.isLocal = isLocal
            self.restartDelay = restartDelay
        }
    }

    package struct Client: Hashable, Codable, Sendable {
        package var at: Instant
        package var request: Request
        /// When the client leaves.
        package var cancelAt: Instant?
        /// The server sees a stop string in the first choice's text after so many tokens.
        package var finishAfter: Int?
        /// A pass that runs this position brings the process down.
        package var poisonedPosition: Int?

        package init(
            at: Instant, request: Request, cancelAt: Instant? = nil, finishAfter: Int? = nil,
            poisonedPosition: Int? = nil
        ) {
            self.at = at
            self.request = request
            self.cancelAt = cancelAt
            self.finishAfter = finishAfter
            self.poisonedPosition = poisonedPosition
        }

        mutating func wantsLogprobs() {
            var sampling = request.sampling
            sampling.topLogprobs = 2
            request = Request(
                id: request.id, prompt: request.prompt, choiceCount: request.choiceCount, sampling: sampling,
                outputCountMax: request.outputCountMax, stopTokens: request.stopTokens, deadline: request.deadline)
        }
    }

    package enum FaultKind: Hashable, Codable, Sendable {
        /// The process ends; its links break.
        case crash
        /// The process ends and nobody is told.
        case vanish
        /// The process stands still for a while.
        case pause(TimeSpan)
        /// The next pass never ends, while heartbeats go on.
        case hang
        /// Passes take so many times longer, for a while.
        case slow(Int, TimeSpan)
        /// The link to the next stage breaks.
        case cutPeer
        /// The links over which it copies its rows break.
        case cutBulk
        /// Its next frame arrives with another byte in it.
        case corruptFrame
        /// Frames from it travel so much longer, for a while.
        case slowBulk(TimeSpan, TimeSpan)
        /// The link to the controller breaks.
        case cutController
        /// The next pass fails.
        case failPass
        /// The next load fails.
        case failLoad
        /// The process is asked to end, and does when others have its stages.
        case leave
        /// A controller of a past term sends it an order.
        case staleOrder
        /// The controller stands still for a while; the worker is of no matter.
        case pauseController(TimeSpan)
        /// The controller's process ends, and another begins after that time; the workers live on.
        case crashController(TimeSpan)
    }

    package struct Fault: Hashable, Codable, Sendable {
        package var at: Instant
        package var worker: Int
        package var kind: FaultKind
        /// Strikes whoever has this role then; where nobody has it for long, whoever gets it next.
        package var target: Role?
        /// From when the role is had to the fault.
        package var wait: TimeSpan
        /// A worker of another pipeline dies first, so that it strikes in the middle of a recovery.
        package var followsDeath = false
        /// Looks again and again for somebody with the role, for a while.
        package var isPatient = false

        package init(at: Instant, worker: Int, kind: FaultKind, target: Role? = nil, wait: TimeSpan = .zero) {
            self.at = at
            self.worker = worker
            self.kind = kind
            self.target = target
            self.wait = wait
        }
    }

    package var seed: UInt64
    package var configuration: ControllerConfiguration
    package var workers: [Worker]
    package var clients: [Client]
    package var faults: [Fault]
    /// Of every link; and what chance adds.
    package var latency: TimeSpan
    package var jitter: TimeSpan
    /// When the server is told to stop, and how long it has.
    package var drainAt: Instant?
    package var drainTime: TimeSpan = .seconds(5)
    /// How long workers live without a controller.
    package var orphanGrace: TimeSpan = .seconds(60)

    package init(
        seed: UInt64, configuration: ControllerConfiguration, workers: [Worker], clients: [Client],
        faults: [Fault] = [], latency: TimeSpan = .microseconds(50), jitter: TimeSpan = .microseconds(20)
    ) {
        self.seed = seed
        self.configuration = configuration
        self.workers = workers
        self.clients = clients
        self.faults = faults
        self.latency = latency
        self.jitter = jitter
    }

    package static let kvBytesPerPositionAndLayer = 64
}
