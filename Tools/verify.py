#!/usr/bin/env python3
"""Runs the verifications: each shows one thing that users rely on, against the real binary and the real model.

    Tools/verify.py --binary B --model M all          everything
    Tools/verify.py --binary B --model M kill openai  some of it
    Tools/verify.py --list                            what there is

--quick uses smaller counts and the same code; that is what `make test` does. Exit status 0 if all passed.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tools"))

from lib import adoption, llama, survival, swapping  # noqa: E402, F401
from lib.checks import CHECKS, PROMPTS, check, expect, tool  # noqa: E402
from lib.client import complete, get_json, get_text, stream_tokens  # noqa: E402
from lib.server import Server, children_of  # noqa: E402


@check
def run(options):
    """`serve` prints its URL once it answers, and Ctrl-C leaves no process behind."""
    with Server(options.binary, options.model) as server:
        expect(get_json(server.url + "/ready")["ready"], "the URL was printed before the server was ready")
        text = complete(server.url, PROMPTS[0], max_tokens=8)
        expect(text, "no text came")
        workers = children_of(server.process.pid)
        expect(workers, "serve has started no workers")
        server.process.send_signal(signal.SIGINT)
        expect(server.process.wait(timeout=30) == 0, "Ctrl-C did not end the server with 0")
        expect(not [w for w in workers if pathlib.Path(f"/proc/{w}").exists()], "a worker was left behind")


# How prompts and tokens are put on workers: as `serve` takes it, and what a failure is called by.
TOPOLOGIES = {
    "1 stage": ["--stages", 1], "2 stages": ["--stages", 2], "3 stages": ["--stages", 3], "5 stages": ["--stages", 5],
    **{f"{p}+{t}": ["--prompt-stages", p, "--token-stages", t, "--disaggregate-above", 8]
       for p, t in ((1, 1), (1, 2), (2, 1), (2, 3), (3, 2))},
    # Devices for a few sequences, and memory below them for all.
    "1 stage, swapping to host": ["--stages", 1, *swapping.ON, "--device-memory", "36M", "--host-memory", "1G"],
    "2 stages, swapping to disk": ["--stages", 2, *swapping.ON, "--device-memory", "18M", "--swap-dir", "{directory}",
                                   "--swap-size", "512M"],
    "2+3, swapping to both": ["--prompt-stages", 2, "--token-stages", 3, "--disaggregate-above", 8, *swapping.ON,
                              "--device-memory", "18M", "--host-memory", "64M", "--swap-dir", "{directory}",
                              "--swap-size", "512M"],
}


def difference(texts, reference):
    """The first place where two lists of texts differ, in words; None if nowhere."""
    for number, (ours, theirs) in enumerate(zip(texts, reference, strict=True)):
        for position, (mine, other) in enumerate(zip(ours, theirs)):
            if mine != other:
                return (f"text {number} differs at character {position}: "
                        f"{ours[position:position + 20]!r} instead of {theirs[position:position + 20]!r}")
        if len(ours) != len(theirs):
            return f"text {number} ends after {min(len(ours), len(theirs))} characters"
    return None


@check
def equal(options):
    """The same text from any stages, colocated or with prompts apart, alone and in company, greedy and seeded."""
    count = 40 if options.quick else 200
    # Long ones are worth the way to prompt stages.
    long = [" ".join([prompt] * (1 + 9 * (number % 3))) for number, prompt in enumerate(PROMPTS)]
    jobs = [dict(prompt=p, max_tokens=count, temperature=t, seed=7, ignore_eos=True)
            for t in (0, 0.9) for p in PROMPTS + long]
    jobs = jobs[:12] if options.quick else [
        dict(job, seed=job["seed"] + number, max_tokens=count - 10 * (number % 16))
        for number in range(-(-200 // len(jobs))) for job in jobs][:200]
    names = (["1 stage", "3 stages", "1+1", "2+3", "2 stages, swapping to disk"] if options.quick else TOPOLOGIES)
    reference = None
    for name in names:
        with swapping.folder(TOPOLOGIES[name]) as arguments, \
                Server(options.binary, options.model, *arguments, "--threads", 1, "--standbys", 0) as server:
            alone = [complete(server.url, **job) for job in jobs[:4]]
            texts = stream_tokens(server.url, jobs)
            cluster = get_json(server.url + "/cluster")["cluster"]
        apart = [pipeline for pipeline in cluster["pipelines"] if pipeline["role"] == "prompt"]
        expect(all(p["stages"][0]["passes"] > 1 for p in apart), f"{name}: no prompt ran at the prompt stages")
        expect("swapping" not in name or swapping.fetches(cluster) > 10, f"{name}: nothing was swapped")
        expect(not difference(alone, texts[:4]), f"{name}: others beside it change it: {difference(alone, texts[:4])}")
        reference = reference or texts
        expect(not difference(texts, reference),
               f"{name} gives another text than one stage: {difference(texts, reference)}")
        print(f"  {name}: {len(texts)} texts equal")


@check
def tokens(options):
    """Greedy tokens and logits against llama.cpp's, in any number of stages, alone and in a batch."""
    tool("verify-tokens.py", "--dejavu", options.binary, "--model", options.model,
         *(["--quick"] if options.quick else []))


@check
def metrics(options):
    """`promtool` accepts /metrics, and the names are those of docs/METRICS.md."""
    with Server(options.binary, options.model) as server:
        complete(server.url, PROMPTS[0], max_tokens=4)
        text = get_text(server.url + "/metrics")
    subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=True)
    documented = (ROOT / "docs" / "METRICS.md").read_text()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            expect(f"`{line.split()[2]}`" in documented, f"{line.split()[2]} is not in docs/METRICS.md")


def swift_tests(name, **environment):
    """Runs the Swift tests whose names match, which `make build-tests` has built; that there are none is a failure."""
    done = subprocess.run(
        ["swift", "test", "-c", "release", "--disable-testable-imports", "--skip-build", "--no-parallel", "--filter",
         name],
        cwd=ROOT, env={**os.environ, **{key: str(value) for key, value in environment.items()}}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ran = re.search(r"Test run with ([1-9]\d*) tests?.*passed", done.stdout)
    expect(done.returncode == 0 and ran, f"swift test --filter {name}:\n{done.stdout[-3000:]}")
    print(ran.group(0))


@check
def openai(options):
    """OpenAI's own Python client, over every parameter, streaming and not."""
    with Server(options.binary, options.model) as server:
        tool("openai-suite.py", server.url)


@check
def page(options):
    """The chat page in headless Chromium: chat, stop, errors, keyboard, phone."""
    with Server(options.binary, options.model) as server:
        tool("page-test.py", server.url, *(["--pictures", options.pictures] if options.pictures else []))


@check
def templates(options):
    """Chat templates render as in Python's jinja2: the model's own, our fixtures, llama.cpp's and random ones."""
    paths = [options.model, ROOT / "Tests/DejaVuTemplateTests/Fixtures"]
    if not options.quick:
        source = llama.source()
        paths += [source / "models/templates", source / "tests/test-chat-template.cpp"]
    tool("template-oracle/compare.py", "--checker", f"{pathlib.Path(options.binary).resolve()} check template",
         *paths, "--fuzz", 300 if options.quick else 10_000, "--seed", 1)


@check
def tokenizer(options):
    """The tokenizer answers as llama.cpp's: 10,000 random and adversarial texts; quickly, committed answers."""
    ours = f"{shlex.quote(options.binary)} check tokenizer --model {shlex.quote(options.model)}"
    if options.quick:
        against = ["--expected", ROOT / "Tests/DejaVuTokenizerTests/Fixtures/smollm2.txt"]
    else:
        against = ["--oracle", f"{llama.oracle('tokenizer-oracle/oracle.c')} {shlex.quote(options.model)}",
                   "--count", 10_000]
    tool("tokenizer-oracle/compare.py", options.model, "--ours", ours, *against)


@check
def golden(options):
    """Logits of tiny random models equal llama.cpp's golden ones, and every planted mistake moves them 100x as far."""
    swift_tests("GoldenLogitsTests")


@check
def fuzz_gguf(options):
    """Mutated GGUF files are read or refused by name; nothing crashes."""
    count = 300 if options.quick else 10_000
    swift_tests("mutatedFiles_areReadOrRefused_neverCrash", DEJAVU_COUNT=count)
    print(f"{count} mutated files")


@check
def fuzz_http(options):
    """Hostile HTTP: the server lives and answers the next request."""
    tool("verify-fuzz-http.py", "--dejavu", options.binary, "--model", options.model)


@check
def schemathesis(options):
    """Requests made from openapi.json: no 500, no answer that the file does not describe, no crash."""
    tester = pathlib.Path(sys.executable).parent / "schemathesis"
    with (tempfile.TemporaryDirectory() as folder,
          Server(options.binary, options.model, "--context", 256, "--default-max-tokens", 2, "--threads", 1,
                 "--standbys", 0) as server):
        # Positive data may be refused: a context length or a model's name is more than a schema can say.
        subprocess.run(
            [tester, "run", server.url + "/openapi.json", "--exclude-checks", "positive_data_acceptance",
             "--phases", "examples,coverage,fuzzing", "--max-examples", "5" if options.quick else "300",
             "--seed", "1", "--request-timeout", "60", "--no-color"],
            check=True, cwd=folder)
        expect(server.process.poll() is None, "the server ended")
        expect(complete(server.url, PROMPTS[0], max_tokens=2), "the server does not answer any more")


@check
def soak(options):
    """Clients that leave in mid-stream: memory stays level and no cell is lost."""
    tool("verify-soak.py", "--dejavu", options.binary, "--model", options.model,
         "--seconds", 600)


@check
def transfer_plan(options):
    """Random pairs of KV layouts: every byte goes once to the right place, there and back, in the fewest runs."""
    swift_tests("TransferPlanTests", DEJAVU_COUNT=2_000 if options.quick else 100_000)


@check
def transports(options):
    """The conformance suite of all transports: kill -9, stopped peers, cut networks, hostile bytes, up to 1 GB."""
    swift_tests(
        "transport_|session_|peerMessage_|stagingPool_|link_|handshake_|heart|spool_",
        DEJAVU_COUNT=6 if options.quick else 50)


@check
def simulate(options):
    """Random worlds in virtual time: every invariant at every event."""
    # In full for about an hour.
    counts = ["300"] if options.quick else ["100000", "--coverage", "--coverage-min", "100"]
    subprocess.run([options.binary, "simulate", "--seeds", *counts], check=True)


@check
def mutants(options):
    """Each of eleven broken rules of the control code is found by the random worlds."""
    tool("verify-mutants.py")


@check
def paper_baseline(options):
    """The paper's baseline, simulated and in the control machine: times of the authors' simulators within 0.1%."""
    swift_tests("paperBaseline_")


@check
def plan(options):
    """`profile` measures the model, `plan` and an emulated server take it; the authors' planning example comes out."""
    def run(*arguments):
        return json.loads(subprocess.run(
            [options.binary, *map(str, arguments), "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)

    for slowdown, stages in ((1, (2, 6)), (1.1, (3, 5))):
        example = run("plan", "opt-66b", "--machines", 8, "--method", "paper", "--output-tokens", 50,
                      "--prompt-slowdown", slowdown)
        expect((example["promptStages"], example["tokenStages"]) == stages, f"the authors' example gives {example}")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mine.json"
        rounds = 1 if options.quick else 3
        measured = run("profile", options.model, "-o", path, "--directory", folder, "--repetitions", rounds)
        expect(measured == json.loads(path.read_text()), "the file differs from what was printed")
        longest = max(measured["promptTimes"], key=lambda row: (row["sequences"] == 1, row["tokens"]))
        step = measured["stepTimes"][0]["seconds"]
        expect(0 < step < longest["seconds"], f"a step takes {step} s and a prompt {longest}")
        planned = run("plan", path, "--machines", 2, "--prompt-tokens", 100, "--output-tokens", 32)
        expect(planned["serve"].startswith("dejavu serve"), f"no line to type: {planned}")
        print(f"  step {1000 * step:.1f} ms, prompt of {longest['tokens']} {longest['seconds']:.2f} s;"
              f" {planned['reasons'][0]}")
        with Server(options.binary, f"emulated:{path}", "--threads", 1, "--standbys", 0) as server:
            expect(complete(server.url, PROMPTS[0], max_tokens=4), "the emulated server does not answer")


@check
def disk_faults(options):
    """The disk store under random faults and kill -9: never a wrong byte, never a crash."""
    swift_tests("diskStore_|segmentScan_|segmentCodecs_", DEJAVU_COUNT=300 if options.quick else 20_000)


@check
def ledger(options):
    """Random stores that stream to each other through a bad network: the ledger's promises at every event."""
    subprocess.run(
        [options.binary, "simulate", "--ledger", "--seeds", "3000" if options.quick else "100000"], check=True)


@check
def example(options):
    """The example's README, command by command, on a fresh copy of the tree that knows neither ggml nor a model."""
    copy = ROOT / ".build" / "verify-example"
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    fresh_copy(copy, [name for name in listed.split("\0") if name and (ROOT / name).is_file()])
    expect(not (copy / ".deps").exists(), "the copy has a .deps folder")
    readme = (copy / "Examples" / "KVStreaming" / "README.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", readme, re.S).group(1)
    environment = {name: value for name, value in os.environ.items() if name != "PKG_CONFIG_PATH"}
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=copy, env=environment, timeout=3600,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    expect(result.returncode == 0, f"the commands end with {result.returncode}:\n{result.stdout[-4000:]}")
    for line in ("keeper     The generator is gone", "keeper     A run without a kill gives the same text."):
        expect(line in result.stdout, f"'{line}' was not printed:\n{result.stdout[-4000:]}")


def fresh_copy(folder, names):
    """Makes a folder that has these files of the tree and no others, but for what was built there before."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else []:
        inside = path.relative_to(folder)
        if ".build" in inside.parts or str(inside) in names:
            continue
        if path.is_file() or path.is_symlink():
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != (ROOT / name).read_bytes():
            shutil.copy2(ROOT / name, target)


@check
def sanitize(options):
    """The tests of the KV and streaming modules under the address and thread sanitizers."""
    for sanitizer in ("address", "thread"):
        folder = ROOT / ".build" / f"sanitize-{sanitizer}"
        # The thread sanitizer cannot see through the standard library's Mutex; see that file.
        mutex = ["--mutex", ROOT / "Tools" / "SanitizerMutex.swift"] if sanitizer == "thread" else []
        tool("trim-package.py", folder, *mutex, "DejaVuKVTests", "DejaVuLibTests")
        print(f"verify sanitize: {sanitizer}", flush=True)
        # One report is a failure, whatever the tests say; where leaks are looked for depends on the machine.
        environment = dict(os.environ, TSAN_OPTIONS="halt_on_error=1", ASAN_OPTIONS="detect_leaks=0")
        subprocess.run(["swift", "test", "-c", "release", "--disable-testable-imports", f"--sanitize={sanitizer}"],
                       cwd=folder, env=environment, check=True)


# These take minutes, some because they build in folders of their own: not among the quick ones.
LONG = {"soak", "chaos-soak", "example", "mutants", "sanitize"}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="verifications, or all")
    parser.add_argument("--binary", default=".build/release/dejavu")
    parser.add_argument("--model", default=".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--quick", action="store_true", help="smaller counts, the same code")
    parser.add_argument("--pictures", help="keep the page's screenshots in this folder")
    parser.add_argument("--list", action="store_true", help="list the verifications")
    options = parser.parse_args()
    if options.list or not options.names:
        for name, function in CHECKS.items():
            print(f"{name:14} {function.__doc__}")
        return
    names = options.names
    if names == ["all"]:
        # Memory is level only after some minutes, so a short soak shows nothing.
        names = [name for name in CHECKS if not (options.quick and name in LONG)]
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f"no such verification: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    failed = []
    for name in names:
        print(f"verify {name}: {CHECKS[name].__doc__}", flush=True)
        begun = time.monotonic()
        try:
            CHECKS[name](options)
            print(f"verify {name}: passed in {time.monotonic() - begun:.0f} s", flush=True)
        except Exception as error:
            if not isinstance(error, (AssertionError, subprocess.CalledProcessError)):
                traceback.print_exc()
            print(f"verify {name}: FAILED: {error}", flush=True)
            failed.append(name)
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
