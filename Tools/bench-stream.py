#!/usr/bin/env python3
"""Measures KV streaming: the paper's ablation, what it costs compute, and rates against the bare way."""
import json
import pathlib
import shlex
import subprocess
import sys

from lib import options, results, stats

PARTS = ["ablation-opt-13b", "ablation-opt-66b", "tcp-opt-13b", "tcp-opt-66b", "ablation-smollm2", "overhead-opt-13b",
         "overhead-smollm2", "rate-host", "rate-tcp", "rate-disk", "delta"]
QUICK_PARTS = [part for part in PARTS if "66b" not in part]
PLACES = {"host": "host memory", "disk": "disk", "tcp": "a TCP peer"}


def measure(given, part):
    """One part, with its sides interleaved inside the program: as {series: values}, its settings and usage."""
    command = [*shlex.split(given.dejavu), "bench", "stream", "--part", part, "--model", given.model,
               "--threads", str(given.threads), "--directory", given.directory,
               "--rounds", str(1 if given.quick else given.pairs), *(["--quick"] if given.quick else [])]
    print(f"  {part}", file=sys.stderr)
    document = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    document["series"] = {series["name"]: series["values"] for series in document["series"]}
    return document


class Rows:
    """Collects the table. A row whose emulation did not keep its times says so in place of its verdict."""

    def __init__(self, parts):
        self.parts = parts
        self.rows = []

    def compare(self, part, what, ours, theirs, bound=None, at_least=False):
        if part not in self.parts:
            return
        document = self.parts[part]
        row = stats.compare(document["series"][ours], document["series"][theirs], bound or 1, at_least)
        if bound is None:
            row["bound"], row["verdict"] = "", "measured"
        self.rows.append({"what": what, **row, "verdict": self.checked(document, [ours, theirs], row["verdict"])})

    def share(self, part, what, ours, theirs, limit):
        """What a part of a time is of the whole, at most so many percent."""
        if part not in self.parts:
            return
        series = self.parts[part]["series"]
        percent = [100 * a / b for a, b in zip(series[ours], series[theirs])]
        row = stats.limit(stats.median_interval(percent)[0], limit, "%")
        self.rows.append({"what": what, **row, "samples": {"ours": percent}})

    @staticmethod
    def checked(document, names, verdict):
        for name in names:
            usage = document["usage"].get(name.split(".")[0].removesuffix("_low"), {})
            if usage.get("wake_ups") and not usage["is_valid"]:
                return (f"invalid: {usage['processor_share']:.0%} of the processors, "
                        f"{usage['late_share']:.1%} late wake-ups, {usage['late_time_share']:.2%} of the time")
        return verdict


def ablation(rows, part, name, is_bar):
    rows.compare(part, f"{name}: naive / + buffered copies, 500 + 500 tokens, s", "naive.request", "buffered.request",
                 50 if is_bar else None, True)
    if not name.startswith("SmolLM2"):
        rows.compare(part, f"{name}: naive with launches of 2.3 us (computed) / + buffered copies, s",
                     "naive_low.request", "buffered.request")
    rows.compare(part, f"{name}: naive / no streaming, 500 + 500, s", "naive.request", "none.request")
    rows.compare(part, f"{name}: + buffered / no streaming, 500 + 500, s", "buffered.request", "none.request")
    rows.compare(part, f"{name}: + layer by layer / no streaming, 500 + 500, s", "layered.request", "none.request")
    rows.compare(part, f"{name}: + token overlap / no streaming, whole run, s", "overlapped.total", "none.total",
                 1.02 if is_bar else None)


def table(parts):
    rows = Rows(parts)
    for model, name in [("opt-13b", "OPT-13B"), ("opt-66b", "OPT-66B")]:
        ablation(rows, f"ablation-{model}", f"{name}, emulated", True)
        rows.compare(f"tcp-{model}", f"{name}, one step over real TCP: naive / buffered, s", "naive.step",
                     "buffered.step")
    ablation(rows, "ablation-smollm2", "SmolLM2", False)
    for place, words in PLACES.items():
        rows.compare("overhead-opt-13b", f"OPT-13B, emulated, 500 + 500, everything to {words}, s", f"{place}.total",
                     "none.total", 1.02)
    for place, words in PLACES.items():
        rows.compare("overhead-smollm2", f"SmolLM2, 500 + 500, everything to {words}, s", f"{place}.total",
                     "none.total")
    for place, words in [("tcp", "TCP against a bare blocking socket"), ("host", "host against memcpy"),
                         ("disk", "disk against pwrite, both with fdatasync")]:
        rows.compare(f"rate-{place}", f"{words}, with checksums, GB/s", "ours.rate", "bare.rate",
                     0.8 if place == "tcp" else 0.9, True)
        rows.compare(f"rate-{place}", f"{words}, CPU s/GB", "ours.processor", "bare.processor")
    rows.compare("delta", "one step of 8 sequences, 30 layers: streamed / bare loop, s", "engine.step", "bare.step", 3)
    rows.compare("delta", "the same, CPU s", "engine.processor", "bare.processor")
    rows.compare("delta", "the same copies by a transfer plan, s", "copier.step", "bare.step", 3)
    for part, name in [("overhead-smollm2", "SmolLM2"), ("overhead-opt-13b", "OPT-13B")]:
        rows.share(part, f"{name}: doorbell on the compute thread, of a step", "tcp.compute_thread", "none.step", 1)
    return rows.rows


def main():
    parser = options.parser(__doc__, "Tools/bench-stream.py --quick")
    parser.add_argument("--pairs", type=int, default=10, help="interleaved measurements of each side")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of SmolLM2")
    parser.add_argument("--directory", default=".", help="where the disk store's files go; its disk is measured")
    parser.add_argument("--part", action="append", choices=PARTS, help="only these")
    parser.add_argument("--quick", action="store_true", help="smaller, one round: to see whether it works")
    given = parser.parse_args()
    if given.quick and not given.out:
        given.out = str(results.ROOT / ".build" / "bench-quick")
    given.directory = str(pathlib.Path(given.directory).resolve())
    before = results.environment()
    parts = {part: measure(given, part) for part in given.part or (QUICK_PARTS if given.quick else PARTS)}
    rows = table(parts)
    if given.quick:
        # The names say the full sizes.
        rows = [{**row, "what": f"(smaller) {row['what']}"} for row in rows]
    return results.write("stream", rows, before, given.out, parts=parts)


if __name__ == "__main__":
    sys.exit(main())
