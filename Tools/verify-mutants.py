#!/usr/bin/env python3
"""Checks the check: each mutant of the control code breaks one rule, and the random simulations must find it.

The pure modules are copied to a scratch folder, one line is changed there, and seeds run until a world complains or the
program stops. Nothing of this becomes part of the product. A mutant whose line is gone is an error: the rule may have
moved.
"""
import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODULES = ["DejaVuCore", "DejaVuKV", "DejaVuControl", "DejaVuSimulation"]
FLAGS = ["-O", "-wmo", "-swift-version", "6", "-package-name", "mutants", "-parse-as-library"] + [
    word for feature in ("InternalImportsByDefault", "ExistentialAny", "MemberImportVisibility",
                         "NonisolatedNonsendingByDefault") for word in ("-enable-upcoming-feature", feature)]
CONTROLLER, WORKER = "DejaVuControl/Controller/", "DejaVuControl/Worker/"

# What is broken; where; the text that is replaced, which stands there once; what replaces it.
MUTANTS = [
    ("no fencing: passes of past epochs run", WORKER + "WorkerMachine+Passes.swift",
     "seats[index].announced, seats[index].isCurrent(pass),\n", "seats[index].announced,\n"),
    ("passes of a past epoch are waited for", CONTROLLER + "ControllerMachine+Placement.swift",
     "        pipelines[index].flights.removeAll()\n", ""),
    ("frames are committed before they are verified", "DejaVuKV/Ledger/Ledger+Ending.swift",
     "        guard intact else {", "        guard intact || true else {"),
    ("no replay: work begins at the last token, whatever stages lack", CONTROLLER + "Place.swift",
     "inFlight > 0 ? scheduledEnd : min(known - 1, positions, watermarks.least)",
     "inFlight > 0 ? scheduledEnd : min(known - 1, positions)"),
    ("a stage and its replica on one worker", CONTROLLER + "ControllerMachine+Replicas.swift",
     "guard let id = stages[(stage + step) % stages.count].worker, id != stages[stage].worker,",
     "guard let id = stages[(stage + step - 1) % stages.count].worker,"),
    ("cells are given away before they are quiet", CONTROLLER + "ControllerMachine+Endings.swift",
     "        if due.isEmpty { becomeQuiet(id, in: index) }", "        becomeQuiet(id, in: index)"),
    ("a token is emitted twice", CONTROLLER + "ControllerMachine+Results.swift",
     "actions.append(.emit(sequences[at: at].record.request, choice: sequences[at: at].record.choice, token))",
     "actions += [.emit(sequences[at: at].record.request, choice: sequences[at: at].record.choice, token)]\n"
     "            if recoveryIsRecent(index) { actions.append(actions[actions.count - 1]) }"),
    ("a cancel is lost", CONTROLLER + "ControllerMachine.swift",
     "case .cancel(let id): endAll(of: id, .cancelled)", "case .cancel: break"),
    ("tickets outlive their release", "DejaVuKV/Ledger/Ledger+Release.swift",
     "        tickets.revoke(sequence)\n        positionsPromised", "        positionsPromised"),
    ("the term is ignored", WORKER + "WorkerMachine.swift",
     "        if let term, messageTerm < term {\n            counters.messagesStale += 1\n            return\n"
     "        }\n        obey(messageTerm)", "        obey(messageTerm)"),
    ("rows are not brought back to a device", "DejaVuKV/Swapping/Residency.swift",
     "guard member.committed > 0 else", "guard member.committed > 1 << 40 else"),
]
# What a mutant needs besides.
HELPERS = {
    "a token is emitted twice": (
        CONTROLLER + "ControllerMachine+Results.swift",
        "\nextension ControllerMachine {\n    fileprivate func recoveryIsRecent(_ index: Int) -> Bool {\n"
        "        pipelines[index].recovery.map { now - $0.lostAt < .milliseconds(500) } ?? false\n    }\n}\n"),
}

MAIN = """
import DejaVuSimulation
import Glibc

@main struct Mutant {
    static func main() throws {
        let count = UInt64(CommandLine.arguments[1])!
        var last: UInt64 = 0
        let result = try SimulationSweep.run(seeds: 1..<(count + 1), failuresMax: 1) { seed in
            last = seed
            if seed % 10 == 1 { print("at", seed); fflush(nil) }
        }
        if let failure = result.failures.first { print("found", failure.seed, failure.violation) }
        else { print("clean", last) }
    }
}
"""


def run(command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more)


def compile_modules(sources, target, modules):
    for name in modules:
        files = sorted(str(p) for p in (sources / name).rglob("*.swift"))
        run(["swiftc", *FLAGS, "-I", str(target), "-module-name", name, "-emit-module", "-emit-module-path",
             str(target / f"{name}.swiftmodule"), "-emit-object", "-o", str(target / f"{name}.o"), *files])
    run(["swiftc", *FLAGS, "-I", str(target), "-module-name", "Mutant", str(target / "Mutant.swift"),
         *[str(target / f"{name}.o") for name in MODULES], "-lm", "-o", str(target / "mutant")])


def made(folder, base, mutant):
    """Compiles a mutant into a folder of its own, from the module that it changes on."""
    name, path, old, new = mutant
    target = folder / "".join(c if c.isalnum() else "-" for c in name)
    shutil.copytree(base, target)
    sources = target / "Sources"
    texts = {path: (ROOT / "Sources" / path).read_text()}
    if texts[path].count(old) != 1:
        raise RuntimeError(f"{name}: its line stands {texts[path].count(old)} times in {path}")
    texts[path] = texts[path].replace(old, new)
    if name in HELPERS:
        helper, text = HELPERS[name]
        texts[helper] = texts.get(helper) or (ROOT / "Sources" / helper).read_text()
        texts[helper] += text
    first = MODULES.index(path.split("/")[0])
    for module in MODULES[first:]:
        shutil.copytree(ROOT / "Sources" / module, sources / module)
    for changed, text in texts.items():
        (sources / changed).write_text(text)
    compile_modules(sources, target, MODULES[first:])
    return target / "mutant"


def verdict(program, seeds):
    """Whether it was found, and how, in words."""
    result = subprocess.run([str(program), str(seeds)], capture_output=True, text=True, check=False, timeout=1800)
    lines = result.stdout.splitlines()
    if result.returncode:
        last = next((line.split()[1] for line in reversed(lines) if line.startswith("at")), "?")
        why = next((line for line in result.stderr.splitlines() if "Fatal error" in line), "it crashed")
        return True, f"within 10 seeds from {last} on: {why.split('Fatal error: ')[-1][:110]}"
    if lines[-1].startswith("found"):
        _, seed, why = lines[-1].split(maxsplit=2)
        return True, f"seed {seed}: {why[:110]}"
    return False, f"{seeds} seeds are clean"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, help="each mutant must be found within so many")
    parser.add_argument("--only", default="", help="mutants whose names contain this")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="mutants at the same time")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if given.only in mutant[0]]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="dejavu-mutants-") as scratch:
        folder, base = pathlib.Path(scratch), pathlib.Path(scratch) / "base"
        base.mkdir()
        (base / "Mutant.swift").write_text(MAIN)
        start = time.monotonic()
        compile_modules(ROOT / "Sources", base, MODULES)
        found, how = verdict(base / "mutant", given.seeds)
        print(f"without a mutant: {how}, {time.monotonic() - start:.0f} s", flush=True)
        if found:
            return 1

        def examine(mutant):
            program = made(folder, base, mutant)
            try:
                return mutant[0], *verdict(program, given.seeds)
            finally:
                shutil.rmtree(program.parent)

        with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
            for name, found, how in pool.map(examine, chosen):
                print(f"{'found' if found else 'MISSED'}  {name}: {how}", flush=True)
                missed += not found
    print(f"{len(chosen) - missed} of {len(chosen)} mutants found, each within {given.seeds} seeds")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd[:4])}...: {error.stderr[-3000:]}")
