package import DejaVuCore
import DejaVuKV

/// What a worker has done, in its own clock: what a trace is made of.
package enum TraceRecord: Hashable, Sendable {
    case pass(TracedPass)
    /// The compute thread waited although sequences were open that it was to run.
    case bubble(start: Instant, span: TimeSpan)
    /// A frame has landed and was committed, or rows have come to the device.
    case transfer(TracedTransfer)
}

/// A pass of one stage.
package struct TracedPass: Hashable, Sendable {
    package var pass: PassID
    package var pipeline: PipelineID
    package var epoch: Epoch
    package var stageIndex: Int
    package var start: Instant
    package var span: TimeSpan
    package var rows: Int
    /// Entries of one token that sample, and all others: chunks of prompts and replays.
    package var steps: Int
    package var chunks: Int

    package init(
        pass: PassID, pipeline: PipelineID, epoch: Epoch, stageIndex: Int, start: Instant, span: TimeSpan, rows: Int,
        steps: Int, chunks: Int
    ) {
        self.pass = pass
        self.pipeline = pipeline
        self.epoch = epoch
        self.stageIndex = stageIndex
        self.start = start
        self.span = span
        self.rows = rows
        self.steps = steps
        self.chunks = chunks
    }
}

/// A frame from its header to its commit, or a copy within the worker.
package struct TracedTransfer: Hashable, Sendable {
    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        /// A copy of what another worker's stage has computed.
        case replica
        /// What a prompt stage has computed for the stage where the tokens are made.
        case feed
        /// Brought to the device from the memory below it.
        case fetch
    }

    package var kind: Kind
    package var sequence: SequenceID
    package var layers: LayerRange
    package var positions: Range<Int>
    package var bytes: Int
    /// Who sent it; 0 for the worker itself.
    package var writer: Incarnation
    package var start: Instant
    package var span: TimeSpan

    package init(
        kind: Kind, sequence: SequenceID, layers: LayerRange, positions: Range<Int>, bytes: Int, writer: Incarnation,
        start: Instant, span: TimeSpan
    ) {
        self.kind = kind
        self.sequence = sequence
        self.layers = layers
        self.positions = positions
        self.bytes = bytes
        self.writer = writer
        self.start = start
        self.span = span
    }
}

extension TracedTransfer {
    /// A frame whose header has come just now.
    init(_ header: FrameHeader, kind: Kind, at now: Instant) {
        self.init(
            kind: kind, sequence: header.span.sequence, layers: header.span.layers, positions: header.span.positions,
            bytes: header.payloadBytes, writer: header.writer, start: now, span: .zero)
    }
}

/// What has come together since the last one.
package struct TraceBatch: Hashable, Sendable {
    /// When the worker sends it.
    package var sentAt: Instant
    /// Records for which there was no room.
    package var dropped: Int
    package var records: [TraceRecord]

    package init(sentAt: Instant, dropped: Int, records: [TraceRecord]) {
        self.sentAt = sentAt
        self.dropped = dropped
        self.records = records
    }
}
