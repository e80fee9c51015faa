#!/usr/bin/env python3
"""Measures what swapping microbatches brings, on emulated devices: on against off, and `auto` against both.

A pipeline of four stages whose devices hold four microbatches of B sequences, or two of 2B; host memory holds more.
All sides are the same server under the same load, with more requests than either holds.
"""
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

from lib import options, results, stats
from lib.processes import Server, get

STAGES, BATCH, CELLS = 4, 8, 256
PROMPT, OUTPUT = 32, 64
# One microbatch more than stages: the one that is brought in.
STREAMS = (STAGES + 1) * 2 * BATCH


class Machine:
    """A named profile as a file, at will with another bandwidth between device and host."""

    def __init__(self, given, folder, copy_rate=None):
        made = json.loads(subprocess.run([*shlex.split(given.dejavu), "profile", given.profile, "--json"], check=True,
                                         capture_output=True, text=True).stdout)
        if copy_rate:
            made["copyBytesPerSecond"] = copy_rate
        # Slower than the real machine: two cores wake eight threads and a hundred streams in time then.
        made["timeScale"] = given.time_scale
        self.profile = made
        self.layers = -(-made["layerCount"] // STAGES)
        self.position_bytes = self.layers * made["kvBytesPerPositionAndLayer"]
        self.path = pathlib.Path(folder) / f"copy-{made['copyBytesPerSecond']:.0f}.json"
        self.path.write_text(json.dumps(made))

    def step(self, batch, context):
        """What a stage takes for a step at full speed, in seconds: the profile's roofline."""
        made, shape = self.profile, self.profile["roofline"]
        positions = batch * context
        operations = (batch * shape["operationsPerRowAndLayer"]
                      + positions * shape["attentionOperationsPerPositionAndLayer"])
        read = made["weightBytesPerLayer"] + positions * made["kvBytesPerPositionAndLayer"]
        return self.layers * (max(operations / (shape["operationsPerSecond"] * shape["operationEfficiency"]),
                                  read / (shape["bytesPerSecond"] * shape["byteEfficiency"])) + shape["layerSeconds"])

    def condition(self, batch, tokens):
        """Both sides of the paper's: 2 N t, and the sum of max(t, i B C / bandwidth), C in a stage."""
        step = self.step(batch, PROMPT)
        copies = (i * batch * self.position_bytes / self.profile["copyBytesPerSecond"] for i in range(1, tokens + 1))
        return 2 * tokens * step, sum(max(step, copy) for copy in copies)


def serve(given, machine, swap):
    device = STAGES * BATCH * CELLS * machine.position_bytes
    host = STREAMS * CELLS * machine.position_bytes
    return Server([*shlex.split(given.dejavu), "serve", f"emulated:{machine.path}", "--listen", "127.0.0.1:{port}",
                   "--stages", str(STAGES), "--standbys", "0", "--replicate", "off", "--swap", swap,
                   "--device-memory", str(device), "--host-memory", str(host), "--log-level", "warning"])


def run(given, machine, swap, requests):
    """One load on a server of its own."""
    with serve(given, machine, swap) as server, tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([*shlex.split(given.dejavu), "bench", "serve", "--url", server.url, "--concurrency",
                        str(STREAMS), "--requests", str(requests), "--warm-up", str(2 * BATCH), "--prompt-tokens",
                        str(PROMPT), "--output-tokens", str(OUTPUT), "--json", file.name],
                       check=True, stdout=subprocess.DEVNULL)
        report = json.loads(pathlib.Path(file.name).read_text())
        cluster = json.loads(get(server.url + "/cluster"))["cluster"]
    if report["completedCount"] != report["requestCount"]:
        raise RuntimeError(f"--swap {swap}: {report['failures']}")
    return {"tokensPerSecond": report["outputTokensPerSecond"], "swap": cluster["pipelines"][0]["swap"],
            "emulation": cluster["emulation"]}


def gain(given, folder):
    machine = Machine(given, folder)
    small, large = (machine.step(batch, PROMPT + OUTPUT // 2) for batch in (BATCH, 2 * BATCH))
    left, right = machine.condition(2 * BATCH, OUTPUT)
    what = (f"{given.profile}: a step of {BATCH} sequences takes a stage {small * 1000:.2f} ms, one of {2 * BATCH} "
            f"{large * 1000:.2f} ms, so that at most {2 * small / large:.2f}x can be had; the paper's condition "
            f"{'holds' if left >= right else 'does not hold'} ({left:.3f} s against {right:.3f} s)")
    print(what)
    samples = stats.interleaved(lambda side: run(given, machine, side, given.requests), ["on", "off"], given.pairs)
    rates = {side: [sample["tokensPerSecond"] for sample in samples[side]] for side in samples}
    row = {"what": f"batch 2B with swapping (ours) against B without, tok/s, times x {given.time_scale:g}",
           **stats.compare(rates["on"], rates["off"], 1.8, True)}
    return [row], {"times": what, **samples}


def sweep(given, folder):
    rows, samples = [], {}
    for rate in given.rates:
        machine = Machine(given, folder, rate * 1e9)
        # Twice as long: what trying out costs is to be seen, but not to weigh.
        found = stats.interleaved(lambda side, machine=machine: run(given, machine, side, 2 * given.requests),
                                  ["on", "off", "auto"], given.sweep_runs, warmup=0)
        rates = {side: sum(s["tokensPerSecond"] for s in found[side]) / given.sweep_runs for side in found}
        best = max(rates["on"], rates["off"])
        ratio = rates["auto"] / best
        ends = "on" if found["auto"][-1]["swap"]["on"] else "off"
        rows.append({"what": f"copies of {rate:g} GB/s: auto, which ends {ends} (ours), against the better of on "
                             f"({rates['on']:.0f} tok/s) and off ({rates['off']:.0f})",
                     "ours": rates["auto"], "theirs": best, "ratio": ratio, "low": ratio, "high": ratio,
                     "bound": ">= 0.95x", "verdict": stats.PASS if ratio >= 0.95 else stats.FAIL})
        samples[f"{rate:g}"] = found
    return rows, samples


def main():
    parser = options.parser(__doc__, "Tools/bench-swap.py --parts gain --pairs 3")
    parser.add_argument("--profile", default="opt-66b")
    parser.add_argument("--pairs", type=int, default=10, help="interleaved runs of each side")
    # Whole waves: at the end of half a one the pipeline is half empty, and more so with the larger batch.
    parser.add_argument("--requests", type=int, default=2 * STREAMS, help=f"a multiple of {STREAMS}")
    parser.add_argument("--time-scale", type=float, default=2, help="of the emulated machines' times")
    parser.add_argument("--rates", nargs="+", type=float, default=[100, 25, 12, 6, 3], help="GB/s, for the sweep")
    parser.add_argument("--sweep-runs", type=int, default=1, help="of each side at each rate")
    parser.add_argument("--parts", nargs="+", choices=["gain", "sweep"], default=["gain", "sweep"])
    given = parser.parse_args()
    before = results.environment()
    rows, samples = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for part in given.parts:
            more, samples[part] = globals()[part](given, folder)
            rows += more
    runs = [one for part in samples.values() for value in part.values()
            for one in (value if isinstance(value, list) else
                        [s for side in value.values() for s in side] if isinstance(value, dict) else [])]
    invalid = sum(not (one["emulation"] or {}).get("valid") for one in runs)
    print(f"{invalid} of {len(runs)} runs of emulated devices did not keep their times")
    return results.write("swap", rows, before, given.out, samples=samples, invalid_runs=invalid)


if __name__ == "__main__":
    sys.exit(main())
