import DejaVuCLI
import DejaVuCore
import Testing

@Test func configurationFile_valuesCommentsAndQuotes_becomeSettings() throws {
    let text = "# a comment\nstages = 2   # two\n\nlisten = \"127.0.0.1:80#80\"\ninsecure=true\n"
    let settings = try ConfigurationFile.parse(text, file: "c")
    #expect(settings.map(\.name) == ["stages", "listen", "insecure"])
    #expect(settings.map(\.value) == ["2", "127.0.0.1:80#80", "true"])
    #expect(settings[1].place == "c:4")
    let arguments = try ConfigurationFile.arguments(
        from: settings, options: ["stages", "listen"], flags: ["insecure"])
    #expect(arguments == ["--stages=2", "--listen=127.0.0.1:80#80", "--insecure"])
}

@Test(arguments: [
    ("stagse = 2", "did you mean `stages`"), ("stages", "expected `name = value`"), ("stages=1\nstages=2", "twice"),
    ("insecure = maybe", "true or false"), ("--stages = 2\n$x = 1", "not a name"),
])
func configurationFile_mistake_namesThePlaceAndTheCure(text: String, expected: String) {
    #expect {
        _ = try ConfigurationFile.arguments(
            from: ConfigurationFile.parse(text, file: "c"), options: ["stages"], flags: ["insecure"])
    } throws: { error in
        "\(error)".contains(expected) && "\(error)".contains("c:")
    }
}

@Test func configurationFile_environment_usesTheSameNames() {
    let settings = ConfigurationFile.settings(inEnvironment: ["DEJAVU_API_KEY_FILE": "k", "PATH": "/bin"])
    #expect(settings.map(\.name) == ["api-key-file"])
}

@Test(arguments: [("512M", 512 << 20), ("4G", 4 << 30), ("1.5GiB", 3 << 29), ("77", 77), ("2kb", 2048)])
func byteSize_unit_isAPowerOf1024(text: String, bytes: Int) {
    #expect(ByteSize(argument: text)?.bytes == bytes)
}

@Test(arguments: ["", "G", "-1", "4X", "1e30T", "nanG"])
func byteSize_nonsense_isRefused(text: String) {
    #expect(ByteSize(argument: text) == nil)
}
