#!/usr/bin/env python3
"""Compares prompt and decode speed of one thread with llama-bench's, interleaved."""
import json
import shlex
import subprocess
import sys

from lib import options, results, stats

NAMES = {"prompt512": "prompt of 512, tok/s", "decode1": "decode, batch 1, tok/s", "decode8": "decode, batch 8, tok/s"}


def output(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def ours(given):
    text = output([*shlex.split(given.dejavu), "bench", "kernels", given.model, "--threads", str(given.threads),
                   "--prompt", "512", "--batch", "1", "--batch", "8", "--json"])
    return {row["name"]: row["tokens_per_second"] for row in json.loads(text)["results"]}


def theirs(given):
    threads = str(given.threads)
    rows = json.loads(output([f"{given.llama}/llama-bench", "-m", given.model, "-p", "512", "-n", "64", "-t", threads,
                              "-r", "1", "-o", "json"]))
    speed = {"prompt512" if row["n_gen"] == 0 else "decode1": row["avg_ts"] for row in rows}
    # llama-bench decodes one sequence only.
    lines = output([f"{given.llama}/llama-batched-bench", "-m", given.model, "-c", "2048", "-npp", "16", "-ntg", "64",
                    "-npl", "8", "-t", threads, "-tb", threads, "--output-format", "jsonl"]).splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    speed["decode8"] = next(row["speed_tg"] for row in rows if row["pl"] == 8)
    return speed


def main():
    parser = options.parser(__doc__, "Tools/bench-kernels.py --pairs 7")
    options.add_llama(parser)
    parser.add_argument("--only-llama", action="store_true", help="measure llama.cpp alone and print it")
    given = parser.parse_args()
    if given.only_llama:
        samples = [theirs(given) for _ in range(given.pairs)]
        for name, what in NAMES.items():
            print(f"{what}: {stats.median_interval([s[name] for s in samples])[:3]}")
        return 0
    before = results.environment()
    samples = stats.interleaved(lambda side: ours(given) if side == "ours" else theirs(given), ["ours", "theirs"],
                                given.pairs)
    rows = []
    for name, what in NAMES.items():
        row = stats.compare([s[name] for s in samples["ours"]], [s[name] for s in samples["theirs"]], 1.0, True)
        rows.append({"what": what, **row})
    return results.write("kernels", rows, before, given.out, llama_cpp=options.llama_version(given))


if __name__ == "__main__":
    sys.exit(main())
