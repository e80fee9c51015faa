#!/usr/bin/env python3
"""Holds the tree to its rules: arrows between modules, banned imports in the pure ones, lengths, left-overs.

Lengths are a ratchet: what is over the limit today stands in Tools/tidy-lengths.txt and may only shrink.
`tidy.py --ratchet` writes that file anew, and refuses to let a number grow.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LENGTHS = ROOT / "Tools" / "tidy-lengths.txt"
FILE_LINES_MAX = 400
LINE_COLUMNS_MAX = 120

# From the bottom up: a module imports only modules of a lower floor.
FLOORS = [
    ["DejaVuCore", "CGGML", "CKernels", "CLinux", "CChecksum", "DejaVuPlot"],
    ["DejaVuKV", "DejaVuEngine", "DejaVuGGUF", "DejaVuTemplate", "DejaVuMetrics", "DejaVuGGML"],
    ["DejaVuControl", "DejaVuLib", "DejaVuTokenizer", "DejaVuModel"],
    ["DejaVuSimulation", "DejaVuGGMLStore", "DejaVuRuntime", "DejaVuServing", "DejaVuBench"],
    ["DejaVuCLI"],
    ["dejavu"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
PURE = {"DejaVuCore", "DejaVuKV", "DejaVuControl", "DejaVuSimulation"}
# Only this module may see ggml, and the library never does.
GGML_USERS = {"DejaVuGGML"}
PURE_BANNED = re.compile(
    r"\bTask\s*[{.(]|ContinuousClock|SuspendingClock|\.random\(in:|SystemRandomNumberGenerator|\bprint\(|Date\(\)")
IMPORT = re.compile(r"^(?:@\w+(?:\(\w+\))?\s+)*(?:public |package |internal |private |fileprivate )?import "
                    r"(?:(?:struct|class|enum|protocol|func|var|let|typealias) )?(\w+)", re.M)
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(/work/|/home/\w|/root/)")


def tracked(pattern):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
                         cwd=ROOT, capture_output=True, text=True, check=True)
    return [p for p in out.stdout.splitlines() if (ROOT / p).is_file()]


def check_module(path, text, problems):
    module = path.split("/")[1]
    if module not in FLOOR:
        problems.append(f"{path}: module {module} has no floor in Tools/tidy.py")
        return
    for found in IMPORT.finditer(text):
        name = found.group(1)
        if name in FLOOR and FLOOR[name] >= FLOOR[module] and name != module:
            problems.append(f"{path}: {module} must not import {name}: arrows point down only")
        if module in PURE and name not in FLOOR:
            problems.append(f"{path}: {module} is pure and must not import {name}")
        if name == "CGGML" and module not in GGML_USERS:
            problems.append(f"{path}: only {', '.join(GGML_USERS)} may import CGGML")
    if module in PURE and (found := PURE_BANNED.search(text)):
        problems.append(f"{path}: {module} is pure and must not use {found.group(0).strip()}")


def main():
    problems, lengths = [], {}
    for path in tracked("*.swift") + tracked("*.c") + tracked("*.h") + tracked("*.py") + tracked("*.sh"):
        text = (ROOT / path).read_text(encoding="utf-8")
        lines = text.splitlines()
        if path.startswith("Sources/") and path.endswith(".swift"):
            check_module(path, text, problems)
        if len(lines) > FILE_LINES_MAX:
            lengths[path] = len(lines)
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_COLUMNS_MAX and "Fixtures" not in path:
                problems.append(f"{path}:{number}: {len(line)} columns, at most {LINE_COLUMNS_MAX}")
            if path != "Tools/tidy.py" and LEFTOVER.search(line):
                problems.append(f"{path}:{number}: left for later: {line.strip()}")
            if path != "Tools/tidy.py" and MACHINE_PATH.search(line):
                problems.append(f"{path}:{number}: names a path of one machine")
    allowed = {}
    if LENGTHS.exists():
        for line in LENGTHS.read_text().splitlines():
            count, path = line.split(maxsplit=1)
            allowed[path] = int(count)
    if "--ratchet" in sys.argv:
        grown = [p for p, n in lengths.items() if allowed and n > allowed.get(p, FILE_LINES_MAX)]
        if grown and "--accept" not in sys.argv:
            sys.exit(f"tidy: these grew past their limit, split them: {', '.join(grown)}")
        LENGTHS.write_text("".join(f"{n} {p}\n" for p, n in sorted(lengths.items())))
        return
    for path, count in sorted(lengths.items()):
        if count > allowed.get(path, FILE_LINES_MAX):
            problems.append(f"{path}: {count} lines, at most {allowed.get(path, FILE_LINES_MAX)}")
    for problem in problems:
        print(problem)
    print(f"tidy: {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
