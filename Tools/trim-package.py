#!/usr/bin/env python3
"""Makes a scratch package of a few targets of this one, so that a tool builds these and nothing else.

    Tools/trim-package.py FOLDER [--mutex FILE] TARGET...

The sources are links into this tree; the manifest is this tree's own, trimmed to the targets and what they need.
--mutex puts one more file into every target that uses the standard library's Mutex.
"""
import argparse
import pathlib
import shutil

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

def point(link, target):
    """Makes a link, and nothing if it is there already: a new one would be built anew."""
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)


def uses_mutex(folder):
    return any("import Synchronization" in path.read_text() for path in folder.rglob("*.swift"))


def mirror(folder, source, extra):
    """A folder of links to what the source has, plus a file in each target that needs it."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    wanted = {path.name for path in source.iterdir()} | {extra.name}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
    is_group = source.name in ("Sources", "Tests", "Support")
    for path in sorted(source.iterdir()):
        if is_group and path.is_dir() and uses_mutex(path):
            mirror(folder / path.name, path, extra)
        else:
            point(folder / path.name, path)
    if not is_group:
        point(folder / extra.name, extra)


def trim(folder, targets, mutex=None):
    """Writes the package; a folder that holds one already keeps its build products."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Sources", "Tests"):
        if mutex:
            mirror(folder / name, ROOT / name, mutex.resolve())
        else:
            point(folder / name, ROOT / name)
    names = ", ".join(f'"{name}"' for name in targets)
    manifest = (ROOT / "Package.swift").read_text() + TRAILER % names
    path = folder / "Package.swift"
    if not path.exists() or path.read_text() != manifest:
        path.write_text(manifest)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--mutex", type=pathlib.Path, metavar="FILE")
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    options = parser.parse_args()
    trim(options.folder, options.targets, options.mutex)


if __name__ == "__main__":
    main()
