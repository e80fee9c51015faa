import DejaVuCLI
import Testing

@Test func weightCacheDirectory_optionAndEnvironment_optionFirstThenXDGThenHome() {
    let both = ["XDG_CACHE_HOME": "/caches", "HOME": "/home"]
    #expect(WeightCacheDirectory.resolve("here", environment: both) == "here")
    #expect(WeightCacheDirectory.resolve("off", environment: both) == nil)
    #expect(WeightCacheDirectory.resolve(nil, environment: both) == "/caches/dejavu")
    #expect(
        WeightCacheDirectory.resolve(nil, environment: ["XDG_CACHE_HOME": "relative", "HOME": "/home"])
            == "/home/.cache/dejavu")
    #expect(WeightCacheDirectory.resolve(nil, environment: ["HOME": ""]) == nil)
    #expect(WeightCacheDirectory.resolve(nil, environment: [:]) == nil)
}
