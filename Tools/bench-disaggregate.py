#!/usr/bin/env python3
"""Measures what continuous batching, chunked prompts, disaggregation and swapping bring over the paper's baseline.

Emulated OPT-66B on 4 machines. The sustained rate is the highest at which the median normalised latency (from arrival
to end, for each token) is within the target: twice that of a request alone. Simulation finds it; emulation tries
rates beside it.
"""
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

from lib import azure, options, results, stats
from lib.processes import Server, get

MACHINES, PROMPT, MICROBATCH = 4, 1000, 8
SERVE = {"4": ["--stages", "4"], "2x2": ["--stages", "2", "--pipelines", "2"],
         "1+3": ["--prompt-stages", "1", "--token-stages", "3"],
         "2+2": ["--prompt-stages", "2", "--token-stages", "2"]}
NAMES = {"4": "4 colocated", "2x2": "2 x 2 colocated", "1+3": "1+3", "2+2": "2+2"}
PAPER, WHOLE, CONTINUOUS = f"paper:{MICROBATCH}", "whole", "continuous"
# How long answers are: in words, and on average.
LOADS = {"trace": ("as in the trace", None), "84": ("of 84 on average", 84)}
# Where emulation must agree with simulation, at a moderate load: requests a second.
AGREEMENT = [("4", PAPER, 0.5), ("2x2", PAPER, 0.7), ("1+3", PAPER, 0.7), ("2+2", PAPER, 0.5),
             ("4", CONTINUOUS, 4), ("2x2", CONTINUOUS, 4), ("1+3", CONTINUOUS, 1.5), ("2+2", CONTINUOUS, 3)]
RATES = [("4", PAPER), ("1+3", PAPER), ("2+2", PAPER), ("4", CONTINUOUS), ("2x2", CONTINUOUS), ("1+3", CONTINUOUS),
         ("2+2", CONTINUOUS)]
LATE = "invalid: emulated devices were late"


def put(path, text):
    """Whole or not at all: others may be reading."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    pathlib.Path(file.name).rename(path)


class Bench:
    def __init__(self, given, folder):
        self.given, self.folder = given, pathlib.Path(folder)
        self.dejavu = shlex.split(given.dejavu)
        made = json.loads(self.output("profile", given.profile, "--json"))
        made["linkBytesPerSecond"] = given.link * 1e9 / 8
        self.profile = made
        self.invalid = 0

    def path(self, scale=1):
        """The machine, so many times slower than it is."""
        path = self.folder / f"machine-{scale:g}.json"
        if not path.exists():
            put(path, json.dumps({**self.profile, "timeScale": scale}))
        return path

    def output(self, *arguments):
        return subprocess.run([*self.dejavu, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def trace(self, mean, count):
        path = self.folder / f"{mean}-{count}.csv"
        if not path.exists():
            put(path, azure.trace(count, PROMPT, mean))
        return path

    def count(self, rate):
        return max(20, round(rate * self.given.seconds))

    def load(self, mean, rate):
        """Arguments that give `plan` and `bench serve` the same requests."""
        return ["--trace", self.trace(mean, self.count(rate)), "--requests", self.count(rate)]

    def plan(self, mean, rate, *arguments):
        return json.loads(self.output("plan", self.path(), *self.load(mean, rate), "--trace-speed", rate, "--json",
                                      *arguments))

    def simulate(self, topology, batching, mean, rate, swaps=False):
        rows = self.plan(mean, rate, "--topology", topology, "--batching", batching)["topologies"]
        # Where swapping would change nothing it is not tried.
        row = rows[-1] if swaps else rows[0]
        return {"latency": row["medianNormalisedLatencySeconds"], "tokensPerSecond": row["tokensPerSecond"],
                "firstToken": row["medianFirstTokenSeconds"]}

    def device_memory(self, topology):
        """What the weights of the largest stage that makes tokens leave of a machine."""
        stages = int(SERVE[topology][SERVE[topology].index("--token-stages" if "+" in topology else "--stages") + 1])
        layers = -(-self.profile["layerCount"] // stages)
        return self.profile["deviceMemoryBytes"] - self.profile["weightBytesPerLayer"] * layers

    def emulate(self, topology, batching, mean, rate, scale=1):
        """The same load on emulated machines. Times are those at full speed."""
        command = [*self.dejavu, "serve", f"emulated:{self.path(scale)}", "--listen", "127.0.0.1:{port}",
                   *SERVE[topology], "--standbys", "0", "--replicate", "off", "--batching", batching, "--device-memory",
                   str(self.device_memory(topology)), "--max-queue", "16384", "--log-level", "warning"]
        with Server(command) as server, tempfile.NamedTemporaryFile(suffix=".json") as file:
            self.output("bench", "serve", "--url", server.url, *self.load(mean, rate), "--trace-speed", rate / scale,
                        "--warm-up", 0, "--in-flight-max", 16384, "--timeout", 3600, "--json", file.name)
            report = json.loads(pathlib.Path(file.name).read_text())
            emulation = json.loads(get(server.url + "/cluster"))["cluster"]["emulation"]
        if report["completedCount"] != report["requestCount"]:
            raise RuntimeError(f"{topology}, {batching}: {report['failures']}")
        made = {"latency": report["normalisedLatency"]["p50"] / scale,
                "tokensPerSecond": report["outputTokensPerSecond"] * scale,
                "firstToken": report["timeToFirstToken"]["p50"] / scale, "valid": emulation["valid"],
                "emulation": emulation}
        print(f"  {NAMES[topology]}, {batching}, {rate:.3g}/s: {1000 * made['latency']:.1f} ms a token, "
              f"{made['tokensPerSecond']:.0f} tok/s, {emulation}", file=sys.stderr, flush=True)
        self.invalid += not emulation["valid"]
        return made

    def together(self, body, jobs):
        """Some at a time: emulated machines sleep most of the time."""
        with concurrent.futures.ThreadPoolExecutor(self.given.at_once) as pool:
            return list(pool.map(lambda job: body(*job), jobs))

    # Agreement.

    def agreement(self):
        scale = self.given.time_scale

        def one(topology, batching, rate):
            return self.simulate(topology, batching, 84, rate), self.emulate(topology, batching, 84, rate, scale)

        rows = []
        for (topology, batching, rate), (simulated, emulated) in zip(AGREEMENT, self.together(one, AGREEMENT)):
            for key, what in (("tokensPerSecond", "tok/s"), ("latency", "median latency, s a token")):
                ratio = emulated[key] / simulated[key]
                rows.append({"what": f"{NAMES[topology]}, {batching}, {rate:g} requests a second: {what}, emulated "
                                     "(ours) against simulated", "ours": emulated[key], "theirs": simulated[key],
                             "ratio": ratio, "low": ratio, "high": ratio, "bound": "within 5%",
                             "verdict": (stats.PASS if 0.95 <= ratio <= 1.05 else stats.FAIL) if emulated["valid"]
                             else LATE})
        return rows

    # Sustained rates.

    def target(self, mean):
        return 2 * self.simulate("4", PAPER, mean, 0.01)["latency"]

    def sustained(self, topology, batching, mean, target, swaps=False):
        """The highest rate that simulation keeps within the target, to 1%."""
        low, high = 0.01, 50.0
        while high / low > 1.01:
            middle = (low * high) ** 0.5
            if self.simulate(topology, batching, mean, middle, swaps)["latency"] <= target:
                low = middle
            else:
                high = middle
        return low

    def emulated_rate(self, topology, batching, mean, target, predicted):
        """The highest of a few rates around the predicted one that emulation keeps within the target."""
        tried = {}

        def holds(share):
            tried[share] = self.emulate(topology, batching, mean, predicted * share)
            return tried[share]["latency"] <= target

        share = 1.0
        if holds(share):
            while holds(round(share + 0.1, 1)):
                share = round(share + 0.1, 1)
        else:
            while share > 0.2:
                share = round(share - 0.1, 1)
                if holds(share):
                    break
            else:
                raise RuntimeError(f"{topology}, {batching}: not even a fifth of the predicted rate is kept up")
        return {"rate": predicted * share, "predicted": predicted, "tried": tried,
                "valid": all(one["valid"] for one in tried.values())}

    def rates(self):
        rows = []
        for load, mean in map(LOADS.get, self.given.loads):
            target = self.target(mean)
            jobs = [(*config, mean, target, self.sustained(*config, mean, target)) for config in RATES]
            # Those of the paper first, several at a time; the others are busy enough alone.
            found = dict(zip(RATES[:3], self.together(self.emulated_rate, jobs[:3])))
            found.update({config: self.emulated_rate(*job) for config, job in zip(RATES[3:], jobs[3:])})
            base = found["4", PAPER]
            for (topology, batching), one in found.items():
                ratio = one["rate"] / base["rate"]
                rows.append({"what": f"answers {load}: {NAMES[topology]}, {batching}, requests a second at "
                                     f"{1000 * target:.0f} ms a token (simulated: {one['predicted']:.2f})",
                             "ours": one["rate"], "theirs": base["rate"], "ratio": ratio, "low": ratio, "high": ratio,
                             "bound": "", "verdict": "measured" if one["valid"] else LATE, "detail": one})
            together, apart = (max((found[t, CONTINUOUS] for t in pair), key=lambda one: one["rate"])
                               for pair in (("4", "2x2"), ("1+3", "2+2")))
            best = max(together["rate"], apart["rate"])
            rows.append({"what": f"answers {load}: the best of ours against the paper's baseline", "ours": best,
                         "theirs": base["rate"], "ratio": best / base["rate"], "low": best / base["rate"],
                         "high": best / base["rate"], "bound": ">= 2x",
                         "verdict": stats.PASS if best >= 2 * base["rate"] else stats.FAIL})
            rows.append(self.advice(load, mean, together, apart))
        return rows

    def advice(self, load, mean, together, apart):
        """Whether `plan` says what has come out."""
        plan = self.plan(mean, apart["rate"], "--machines", MACHINES)
        said = next(row["topology"] for row in plan["topologies"] if row["isChosen"])
        wins = "disaggregated" if apart["rate"] > together["rate"] else "colocated"
        advised = "disaggregated" if "+" in said else "colocated"
        # Rates were tried in steps of a tenth.
        is_sure = not 0.9 < apart["rate"] / together["rate"] < 1.1
        return {"what": f"answers {load}: {wins} wins, and `plan` says {said} ({plan['reasons'][0]})",
                "ours": apart["rate"], "theirs": together["rate"], "bound": "the same",
                "verdict": (stats.PASS if wins == advised else stats.FAIL) if is_sure else stats.UNSURE}

    # What each step of ours brings.

    def waterfall(self):
        rows = []
        for load, mean in map(LOADS.get, self.given.loads):
            target = self.target(mean)
            steps = [("the paper's baseline: 4 colocated", [("4", PAPER)]), ("+ continuous batching", [("4", WHOLE)]),
                     ("+ chunked prompts", [("4", CONTINUOUS)]),
                     ("+ disaggregation, if better", [(t, CONTINUOUS) for t in ("4", "1+3", "2+2")]),
                     ("+ more pipelines, if better", [(t, CONTINUOUS) for t in ("4", "1+3", "2+2", "2x2")])]
            before = first = None
            for what, choices in steps:
                rate, topology = max((self.sustained(*choice, mean, target), choice[0]) for choice in choices)
                before, first = before or rate, first or rate
                rows.append({"what": f"simulated, answers {load}: {what} ({NAMES[topology]}), requests a second; the "
                                     f"whole is {rate / first:.2f}x", "ours": rate, "theirs": before,
                             "ratio": rate / before, "low": rate / before, "high": rate / before, "bound": "",
                             "verdict": "measured"})
                before = rate
            swapping = self.sustained(topology, CONTINUOUS, mean, target, swaps=True)
            rows.append({"what": f"simulated, answers {load}: + swapping ({NAMES[topology]}), requests a second",
                         "ours": swapping, "theirs": before, "ratio": swapping / before, "low": swapping / before,
                         "high": swapping / before, "bound": "", "verdict": "measured"})
        return rows

    # The real model.

    def real(self):
        """1 prompt and 1 token stage against 2 colocated ones, of one thread each."""
        sides = {"1+1": ["--prompt-stages", "1", "--token-stages", "1", "--disaggregate-above", "64"],
                 "2 colocated": ["--stages", "2"]}

        def run(side):
            with options.our_server(self.given, *sides[side], "--threads", "1", "--standbys", "0", "--replicate",
                                    "off") as server, tempfile.NamedTemporaryFile(suffix=".json") as file:
                self.output("bench", "serve", "--url", server.url, "--rate", self.given.real_rate, "--requests",
                            self.given.real_requests, "--prompt-tokens", "100-900", "--output-tokens", "32-128",
                            "--json", file.name)
                report = json.loads(pathlib.Path(file.name).read_text())
            return {"firstToken": 1000 * report["timeToFirstToken"]["p50"],
                    "firstTokenWorst": 1000 * report["timeToFirstToken"]["p99"],
                    "interToken": 1000 * report["interToken"]["p99"]}

        found = stats.interleaved(run, list(sides), self.given.pairs)
        rows = []
        for key, what in (("firstToken", "median first token, ms"), ("firstTokenWorst", "first token, p99, ms"),
                          ("interToken", "inter-token, p99, ms")):
            ours, theirs = ([one[key] for one in found[side]] for side in sides)
            row = stats.compare(ours, theirs, 1, False)
            rows.append({"what": f"SmolLM2, {self.given.real_rate:g} requests a second: {what}, 1+1 (ours) against 2 "
                                 "colocated", **row, "bound": "", "verdict": "measured"})
        return rows


def main():
    parser = options.parser(__doc__, "Tools/bench-disaggregate.py --parts waterfall")
    parser.add_argument("--profile", default="opt-66b")
    parser.add_argument("--link", type=float, default=40, help="Gbit/s between machines")
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), default=list(LOADS), help="of the rates")
    parser.add_argument("--seconds", type=float, default=200, help="of arrivals in each run")
    # What goes between processes here takes about 0.6 ms for each stage, which no profile has.
    parser.add_argument("--time-scale", type=float, default=2, help="of the emulated machines' times, for agreement")
    parser.add_argument("--at-once", type=int, default=3, help="emulated clusters of a lighter load at a time")
    parser.add_argument("--pairs", type=int, default=10, help="interleaved runs of each side, with the real model")
    parser.add_argument("--real-rate", type=float, default=1.0, help="requests a second, with the real model")
    parser.add_argument("--real-requests", type=int, default=30)
    parser.add_argument("--parts", nargs="+", choices=["agreement", "waterfall", "rates", "real"],
                        default=["agreement", "waterfall", "rates", "real"])
    given = parser.parse_args()
    before = results.environment()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given, folder)
        for part in given.parts:
            print(part, file=sys.stderr, flush=True)
            rows += getattr(bench, part)()
    print(f"{bench.invalid} runs of emulated devices did not keep their times")
    return results.write("disaggregate", rows, before, given.out, invalid_runs=bench.invalid,
                         profile=bench.profile)


if __name__ == "__main__":
    sys.exit(main())
