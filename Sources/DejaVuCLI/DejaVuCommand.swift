import ArgumentParser
import DejaVuCore
import Glibc

/// The commands, one line each in `dejavu --help`.
struct DejaVuCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dejavu",
        abstract: "Serve a language model over several workers, and lose no answer when one dies.",
        discussion: """
            EXAMPLES
              dejavu serve model.gguf            serve on http://127.0.0.1:8080
              dejavu chat model.gguf             talk to it in the terminal
              dejavu inspect model.gguf          what it is and what it takes
            """,
        version: Version.text,
        subcommands: [
            ServeCommand.self, WorkerCommand.self, ChatCommand.self, InspectCommand.self, StatusCommand.self,
            DrainCommand.self, PlanCommand.self, ProfileCommand.self, BenchCommand.self, SimulateCommand.self,
            ReplayCommand.self,
            CheckCommand.self,
        ])
}

/// What the program calls itself.
enum Version {
    static let text = "0.1.0"
}

/// The program: parses, runs, reports, and ends with 0 (done), 1 (failed) or 2 (wrong usage).
public enum Program {
    private static let wrongUsage: Int32 = 2

    public static func main() async -> Never {
        do {
            let arguments = try Settings.arguments(Array(CommandLine.arguments.dropFirst()))
            var command = try DejaVuCommand.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            exit(0)
        } catch let error as DejaVuError {
            Diagnostics.complain(error.message)
            exit(error.code == .invalidArgument ? wrongUsage : 1)
        } catch {
            let code = DejaVuCommand.exitCode(for: error)
            let message = DejaVuCommand.fullMessage(for: error)
            if code == .success {
                Diagnostics.write(message + "\n", to: STDOUT_FILENO)
                exit(0)
            }
            if !message.isEmpty { Diagnostics.write(message + "\n", to: STDERR_FILENO) }
            // ArgumentParser's own code for wrong usage is the one of sysexits.h.
            exit(code == .validationFailure ? wrongUsage : max(1, min(code.rawValue, 125)))
        }
    }
}
