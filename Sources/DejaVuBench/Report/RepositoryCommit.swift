#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Reads the checked-out commit from git's files, without running git.
enum RepositoryCommit {
    static func ofWorkingDirectory() -> String? {
        guard let path = getcwd(nil, 0) else { return nil }
        defer { free(path) }
        var folder = String(cString: path)[...]
        while true {
            if let commit = commit(ofRepositoryAt: String(folder)) { return commit }
            guard let slash = folder.lastIndex(of: "/"), !folder.isEmpty else { return nil }
            folder = folder[..<slash]
        }
    }

    private static func commit(ofRepositoryAt folder: String) -> String? {
        var directory = folder + "/.git"
        // In a linked worktree .git is a file that names the directory.
        if let link = firstLine(directory), link.hasPrefix("gitdir: ") {
            let target = String(link.dropFirst(8))
            directory = target.hasPrefix("/") ? target : folder + "/" + target
        }
        guard let head = firstLine(directory + "/HEAD") else { return nil }
        guard head.hasPrefix("ref: ") else { return isHash(head) ? head : nil }
        let name = String(head.dropFirst(5))
        var common = directory
        if let shared = firstLine(directory + "/commondir") {
            common = shared.hasPrefix("/") ? shared : directory + "/" + shared
        }
        if let commit = firstLine(common + "/" + name), isHash(commit) { return commit }
        let packed = BlockingFile.text(path: common + "/packed-refs", byteCountMax: 1 << 22) ?? ""
        return packed.split(separator: "\n").first { $0.hasSuffix(" " + name) }
            .map { String($0.prefix { $0 != " " }) }.flatMap { isHash($0) ? $0 : nil }
    }

    private static func firstLine(_ path: String) -> String? {
        BlockingFile.text(path: path, byteCountMax: 4096)?.split(separator: "\n").first.map(String.init)
    }

    private static func isHash(_ text: String) -> Bool {
        text.utf8.count >= 40 && text.allSatisfy(\.isHexDigit)
    }
}
