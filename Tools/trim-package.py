#!/usr/bin/env python3
"""Makes a scratch package of a few targets of this one, so that a tool builds these and nothing else.

    Tools/trim-package.py FOLDER TARGET...

The sources are links into this tree; the manifest is this tree's own, trimmed to the targets and what they need.
"""
import argparse
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent

TRAILER = """
// Only what these targets need.
trim(to: [%s])

@MainActor func trim(to roots: [String]) {
    var kept: Set<String> = []
    var packages: Set<String> = []
    var left = roots
    while let name = left.popLast() {
        guard let target = package.targets.first(where: { $0.name == name }), kept.insert(name).inserted
        else { continue }
        for dependency in target.dependencies {
            switch dependency {
            case .targetItem(let name, _), .byNameItem(let name, _): left.append(name)
            case .productItem(_, let name, _, _): if let name { packages.insert(name) }
            @unknown default: fatalError("a dependency of an unknown kind")
            }
        }
    }
    if let missing = roots.first(where: { !kept.contains($0) }) { fatalError("there is no target \\(missing)") }
    package.targets.removeAll { !kept.contains($0.name) }
    package.products = []
    package.dependencies.removeAll { dependency in
        guard case .sourceControl(_, let location, _) = dependency.kind else { return false }
        return !packages.contains { location.hasSuffix("/" + $0) }
    }
}
"""

def trim(folder, targets):
    """Writes the package; a folder that holds one already keeps its build products."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Sources", "Tests"):
        link = folder / name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(ROOT / name)
    names = ", ".join(f'"{name}"' for name in targets)
    manifest = (ROOT / "Package.swift").read_text() + TRAILER % names
    path = folder / "Package.swift"
    if not path.exists() or path.read_text() != manifest:
        path.write_text(manifest)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    options = parser.parse_args()
    trim(options.folder, options.targets)


if __name__ == "__main__":
    main()
