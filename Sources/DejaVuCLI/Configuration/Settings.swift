import ArgumentParser
import DejaVuCore
import Foundation

/// Puts the settings of a configuration file and of the environment in front of a command's own arguments.
enum Settings {
    /// Commands that take settings from elsewhere; the others are one-off.
    private static let commands: [String: any ParsableCommand.Type] = [
        "serve": ServeCommand.self, "worker": WorkerCommand.self,
    ]

    static func arguments(
        _ arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> [String] {
        guard let name = arguments.first, let command = commands[name], !arguments.contains("--local") else {
            return arguments
        }
        let own = Array(arguments.dropFirst())
        let known = try names(of: command)
        var settings = ConfigurationFile.settings(inEnvironment: environment)
        var path = settings.first { $0.name == "config" }?.value
        // What the tests of this project use is no setting.
        settings.removeAll { $0.name == "config" || $0.name == "model" || $0.name == "count" }
        if let index = own.firstIndex(of: "--config") {
            guard index + 1 < own.count else { return arguments }
            path = own[index + 1]
        } else if let option = own.first(where: { $0.hasPrefix("--config=") }) {
            path = String(option.dropFirst("--config=".count))
        }
        if let path, known.options.contains("config") {
            let file = try ConfigurationFile.parse(try read(path), file: path)
            settings = file + settings
        }
        let inherited = try ConfigurationFile.arguments(from: settings, options: known.options, flags: known.flags)
        return [name] + inherited + own
    }

    private static func read(_ path: String) throws -> String {
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw DejaVuError(.invalidArgument, "cannot read the configuration file \(path)", subject: "config")
        }
        let data = try handle.read(upToCount: ConfigurationFile.fileBytesMax + 1) ?? Data()
        guard data.count <= ConfigurationFile.fileBytesMax else {
            throw DejaVuError(.invalidArgument, "\(path) is too long for a configuration file", subject: "config")
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw DejaVuError(.invalidArgument, "\(path) is not UTF-8", subject: "config")
        }
        return text
    }

    /// What ArgumentParser says of a command's options, as it says it to tools.
    private struct ToolInfo: Decodable {
        struct Command: Decodable { let arguments: [Argument]? }
        struct Argument: Decodable {
            struct Name: Decodable { let kind: String, name: String }
            let kind: String
            let names: [Name]?
        }
        let command: Command
    }

    private static func names(
        of command: any ParsableCommand.Type
    ) throws -> (options: [String], flags: [String]) {
        let info = try JSONDecoder().decode(ToolInfo.self, from: Data(command._dumpHelp().utf8))
        func longNames(_ kind: String) -> [String] {
            (info.command.arguments ?? []).filter { $0.kind == kind }
                .flatMap { ($0.names ?? []).filter { $0.kind == "long" }.map(\.name) }
        }
        return (longNames("option"), longNames("flag").filter { $0 != "help" && $0 != "version" })
    }
}
