import DejaVuCore
import DejaVuLib
import Foundation

/// Two processes and one text. Without arguments this is the keeper, which starts the generator and kills it.
@main
struct Main {
    static func main() async {
        do {
            let arguments = CommandLine.arguments.dropFirst()
            if arguments.isEmpty {
                exit(try await Keeper.run() ? 0 : 1)
            }
            guard arguments.count == 3, arguments.first == "generate", let incarnation = UInt64(arguments[3]) else {
                print("usage: kvstreaming")
                exit(2)
            }
            let key = ProcessInfo.processInfo.environment["KVSTREAMING_KEY"] ?? ""
            try await Generator.run(
                connectingTo: .unix(path: arguments[2]),
                key: ClusterKey(bytes: key.split(separator: " ").compactMap { UInt8($0) }),
                as: Incarnation(incarnation))
        } catch {
            say("error", "\(error)")
            exit(1)
        }
    }
}

/// One line, with who says it.
func say(_ who: String, _ what: String) {
    // At once, in one piece: a process that is killed must not take its last words with it.
    let line = "\(who.padding(toLength: 10, withPad: " ", startingAt: 0)) \(what)\n"
    FileHandle.standardOutput.write(Data(line.utf8))
}
