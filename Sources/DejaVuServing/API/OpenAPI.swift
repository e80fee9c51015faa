/// The description of the API, OpenAPI 3.1.
enum OpenAPI {
    static func reply() -> Reply { .json(PackageResources.openapi_json) }
}
