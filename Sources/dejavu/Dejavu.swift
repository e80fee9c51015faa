import DejaVuCLI

@main
enum Dejavu {
    static func main() async { await Program.main() }
}
