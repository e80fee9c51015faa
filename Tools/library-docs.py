#!/usr/bin/env python3
"""Writes the reference of DejaVuLib, with its article, as static web pages: with what the toolchain has, no plugin.

    Tools/library-docs.py FOLDER

Builds the library, extracts its symbols and runs docc over them. `python3 -m http.server -d FOLDER` shows the pages at
/documentation/dejavulib. A warning of docc about a link that leads nowhere is an error.
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "Sources" / "DejaVuLib" / "DejaVuLib.docc"


def run(*arguments, **more):
    return subprocess.run([str(argument) for argument in arguments], check=True, text=True, **more)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    output = pathlib.Path(sys.argv[1]).resolve()
    package = ROOT / ".build" / "library"
    run(sys.executable, ROOT / "Tools" / "trim-package.py", package, "DejaVuLib")
    run("swift", "build", "-c", "release", "--target", "DejaVuLib", cwd=package)
    built = pathlib.Path(
        run("swift", "build", "-c", "release", "--show-bin-path", cwd=package, capture_output=True).stdout.strip())
    checkouts = package / ".build" / "checkouts"
    maps = sorted({path.parent for path in [*built.glob("*.build/module.modulemap"),
                                            *checkouts.glob("*/Sources/*/include/module.modulemap")]})
    symbols = package / ".build" / "symbols"
    shutil.rmtree(symbols, ignore_errors=True)
    symbols.mkdir(parents=True)
    target = re.search(r'"triple"\s*:\s*"([^"]+)"', run("swift", "-print-target-info", capture_output=True).stdout)
    run("swift", "symbolgraph-extract", "-module-name", "DejaVuLib", "-target", target.group(1),
        "-minimum-access-level", "public", "-I", built / "Modules",
        *[part for folder in maps for part in ("-I", folder)], "-output-dir", symbols)
    converted = run(
        "docc", "convert", CATALOGUE, "--additional-symbol-graph-dir", symbols, "--output-path", output,
        "--fallback-display-name", "DejaVuLib", "--fallback-bundle-identifier", "dejavu.DejaVuLib",
        "--fallback-bundle-version", "1", stderr=subprocess.STDOUT, stdout=subprocess.PIPE).stdout
    lost = [line for line in converted.splitlines()
            if line.startswith("warning") and "is missing documentation" not in line]
    if lost:
        sys.exit("\n".join(lost))
    print(f"{output}/documentation/dejavulib: python3 -m http.server -d {output}")


if __name__ == "__main__":
    main()
