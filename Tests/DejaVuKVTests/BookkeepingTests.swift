import DejaVuCore
import DejaVuKV
import Testing

@Test func kvShape_budgetOfBytes_holdsWholeGranules() {
    let shape = KVShape(bytesPerPositionAndLayer: 768, layerCount: 30)
    #expect(shape.bytesPerCell == 23_040)
    #expect(shape.cellCount(inBytes: 23_040 * 600) == 512)
    #expect(shape.cellCount(inBytes: 23_040 * 255) == 0)
    #expect(shape.cellCount(inBytes: -1) == 0)
    #expect(shape.bytes(ofCells: 512) == 23_040 * 512)
    #expect(KVShape(bytesPerPositionAndLayer: .max, layerCount: 2).cellCount(inBytes: .max) == 0)
}

@Test func stageWatermarks_replayBelowThem_doesNotLowerThem() {
    var marks = StageWatermarks(stageCount: 3)
    marks.raiseAll(to: 10)
    marks.raise(1, to: 4)
    #expect(marks.least == 10)
    marks.reset(2)
    #expect(marks.least == 0 && marks[0] == 10)
    marks.raise(2, to: 7)
    #expect(marks.least == 7)
}

@Test func ticketBook_numberUsedBefore_isNeverTakenAgain() {
    func ticket(_ number: UInt64, _ sequence: UInt64) -> Ticket {
        Ticket(
            number: number, sequence: SequenceID(sequence), layers: LayerRange(0, 2), positionLimit: 8,
            writer: Incarnation(1))
    }
    var book = TicketBook()
    let first = [book.insert(ticket(1, 7)), book.insert(ticket(2, 7)), book.insert(ticket(3, 4))]
    #expect(first == [true, false, true], "a second ticket for one sequence")
    let revoked = [book.revoke(SequenceID(7)), book.revoke(SequenceID(7))]
    #expect(revoked == [true, false])
    let again = [book.insert(ticket(1, 7)), book.insert(ticket(3, 9))]
    #expect(again == [false, false], "a number came back")
    #expect(book.ticket(of: SequenceID(7)) == nil)
    #expect(book.ticket(of: SequenceID(4))?.number == 3)
    book.checkIntegrity()
}
