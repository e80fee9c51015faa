import DejaVuCore
import DejaVuKV

/// Who gets cells of a prompt pipeline, and when they are given back. See docs/disaggregation.md.
extension ControllerMachine {
    /// Gives cells to whoever needs a prompt run, the oldest first. Nobody overtakes, so nobody starves.
    mutating func admitGuests() {
        guard configuration.topology.isDisaggregated else { return }
        guestsWaiting = false
        let cellsMax = guestCellsMax
        for at in sequences.indices where needsGuest(sequences.values[at], cellsMax: cellsMax) {
            guard beGuest(at) else {
                guestsWaiting = true
                break
            }
        }
        guard guestsWaiting else { return }
        // Who only waits for replicas has to make room.
        for id in sequences.keys { fed(id) }
    }

    /// What the largest prompt pipeline holds that runs, or is about to; 0 if there is none.
    var guestCellsMax: Int {
        pipelines.reduce(0) { most, pipeline in
            guard pipeline.role == .prompt, pipeline.phase != .forming else { return most }
            return max(most, pipeline.cells.cellCount)
        }
    }

    /// Whether a sequence has more to run than its token pipeline should, and somebody who could do it. Not if its home
    /// has some of it: a prompt pipeline would run that again. Before all stages of a new epoch have answered nobody
    /// knows what they lack.
    func needsGuest(_ sequence: SequenceState, cellsMax: Int) -> Bool {
        guard cellsMax > 0, sequence.guest == nil, !sequence.isProbe, let home = sequence.home, !home.isLeaving,
            home.inFlight == 0, home.watermarks.least == 0, pipelines[home.pipeline].role == .token,
            pipelines[home.pipeline].phase == .serving
        else { return false }
        let known = sequence.record.knownCount
        return known - home.nextStart(known: known) > configuration.shortRowsMax
            && CellRun.count(forPositions: known) <= cellsMax
    }

    /// - Returns: false if no prompt pipeline has cells for it now.
    private mutating func beGuest(_ at: Int) -> Bool {
        let id = sequences.keys[at]
        let positions = sequences.values[at].record.knownCount
        let order = pipelines.indices.filter {
            pipelines[$0].role == .prompt && pipelines[$0].phase == .serving && !isClosed($0)
                && pipelines[$0].members.count < limits.sequencesMax
        }.sorted { (pipelines[$0].members.count, $0) < (pipelines[$1].members.count, $1) }
        for index in order {
            guard let cells = pipelines[index].cells.allocate(positions: positions) else { continue }
            sequences[at: at].guest = Place(
                pipeline: index, cells: cells, positions: positions, stageCount: pipelines[index].stages.count)
            sequences[at: at].fedAt = now
            pipelines[index].insertMember(id)
            pipelines[index].dirty = true
            openEverywhere(id, in: index)
            feed(id)
            return true
        }
        return false
    }

    /// The guest gives its cells up; the sequence goes on at home.
    mutating func leaveGuest(_ id: SequenceID) {
        guard let at = sequences.index(of: id), let guest = sequences[at: at].guest, !guest.isLeaving else { return }
        sequences[at: at].change(guest.pipeline) { $0.isLeaving = true }
        if let home = sequences[at: at].home { pipelines[home.pipeline].dirty = true }
        settle(id, in: guest.pipeline)
    }

    /// Whether a prompt pipeline takes no guests any more, since one of its workers is to leave it.
    func isClosed(_ index: Int) -> Bool {
        guard pipelines[index].role == .prompt else { return false }
        return pipelines[index].stages.contains { stage in
            guard let id = stage.worker else { return false }
            return workers[id]?.leaving == true || move?.to == id
        }
    }

    // MARK: Feeds

    /// Lets the stages that run a guest write to those of its home that lack what it runs. They are told to copy when
    /// the home's have said that they let them.
    mutating func feed(_ id: SequenceID) {
        guard let at = sequences.index(of: id), let home = sequences[at: at].home, !home.isLeaving,
            let guest = sequences[at: at].guest, !guest.isLeaving
        else { return }
        for (from, source) in pipelines[guest.pipeline].stages.enumerated() {
            for (to, target) in pipelines[home.pipeline].stages.enumerated() {
                guard let layers = source.layers.intersection(target.layers), let writer = source.worker,
                    let taker = target.worker, guest.openAt[from] == writer, home.openAt[to] == taker,
                    home.watermarks[to] < guest.positions, let incarnation = workers[writer]?.hello.incarnation,
                    !sequences[at: at].feeds.contains(where: { $0.from == from && $0.to == to })
                else { continue }
                let ticket = newTicket(id, layers, positionLimit: guest.positions, writer: incarnation)
                sequences[at: at].feeds.append(
                    SequenceState.Feed(from: from, to: to, source: writer, target: taker, ticket: ticket))
                send(.share(id, ticket), to: taker)
            }
        }
    }

    /// A token stage lets that writer in: it may begin.
    mutating func shared(_ id: SequenceID, ticket: UInt64, _ watermark: Int, by worker: WorkerID) {
        guard let at = sequences.index(of: id), let home = sequences[at: at].home,
            let guest = sequences[at: at].guest,
            let place = sequences[at: at].feeds.firstIndex(where: { $0.ticket.number == ticket }),
            let taker = workers[worker]?.hello
        else { return }
        let feed = sequences[at: at].feeds[place]
        guard feed.target == worker, !feed.subscribed, !guest.isLeaving, guest.openAt[feed.from] == feed.source else {
            return
        }
        sequences[at: at].feeds[place].subscribed = true
        let address = StoreAddress(
            peer: PeerAddress(worker: worker, incarnation: taker.incarnation, address: taker.bulkAddress),
            pipeline: pipelines[home.pipeline].id, layers: pipelines[home.pipeline].stages[feed.to].layers)
        if !pipelines[guest.pipeline].stages[feed.from].fed.contains(address) {
            pipelines[guest.pipeline].stages[feed.from].fed.append(address)
        }
        send(.replicate(id, feed.ticket, to: address), to: feed.source)
        landed(
            pipelines[home.pipeline].id, stage: feed.to, [SequenceMark(sequence: id, watermark: watermark)], by: worker)
    }

    /// A token stage says what has been committed in it.
    mutating func landed(_ pipeline: PipelineID, stage: Int, _ marks: [SequenceMark], by worker: WorkerID) {
        guard let index = pipelines.firstIndex(where: { $0.id == pipeline }),
            pipelines[index].stages.indices.contains(stage), pipelines[index].stages[stage].worker == worker
        else { return }
        for mark in marks {
            guard let at = sequences.index(of: mark.sequence), let home = sequences[at: at].home,
                home.pipeline == index, home.openAt[stage] == worker
            else { continue }
            let level = min(mark.watermark, sequences[at: at].record.knownCount, home.positions)
            guard level > home.watermarks[stage] else { continue }
            sequences[at: at].change(index) { $0.watermarks.raise(stage, to: level) }
            sequences[at: at].fedAt = now
            fed(mark.sequence)
        }
    }

    /// Lets a guest go when its home, and as long as nobody waits for cells the home's replicas too, have what it ran.
    mutating func fed(_ id: SequenceID) {
        guard let at = sequences.index(of: id), let home = sequences[at: at].home, !home.isLeaving,
            let guest = sequences[at: at].guest, !guest.isLeaving, guest.inFlight == 0
        else { return }
        let owed = sequences[at: at].owed
        guard home.watermarks.least >= owed else { return }
        pipelines[home.pipeline].dirty = true
        let isCopied = home.copies.allSatisfy { copy in copy.map { $0.watermark >= owed } ?? true }
        if guestsWaiting || isCopied || isClosed(guest.pipeline) { leaveGuest(id) }
    }

    /// Nobody copies to that stage any more, or from it: it has another worker, or another engine.
    mutating func endFeeds(_ index: Int, _ stage: Int) {
        pipelines[index].stages[stage].fed.removeAll()
        guard pipelines[index].role == .token else { return }
        let pipeline = pipelines[index].id
        let layers = pipelines[index].stages[stage].layers
        for source in pipelines.indices where pipelines[source].role == .prompt {
            for from in pipelines[source].stages.indices {
                let stage = pipelines[source].stages[from]
                for target in stage.fed where target.pipeline == pipeline && target.layers == layers {
                    if let worker = stage.worker { send(.endReplication(stageIndex: from, to: target), to: worker) }
                }
                pipelines[source].stages[from].fed.removeAll { $0.pipeline == pipeline && $0.layers == layers }
            }
        }
    }

    // MARK: What stands still

    /// Guests whose home has not got a row for long, though there are some for it, and for how long at most.
    func stalled(at now: Instant) -> (sequences: Int, time: TimeSpan) {
        var count = 0
        var longest = TimeSpan.zero
        for sequence in sequences.values where sequence.phase == .running && sequence.streamLag > 0 {
            let time = now - sequence.fedAt
            guard time > limits.stallMin else { continue }
            count += 1
            longest = max(longest, time)
        }
        return (count, longest)
    }
}
