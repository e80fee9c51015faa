@main
enum Dejavu {
    static func main() {}
}
