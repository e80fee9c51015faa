#!/usr/bin/env python3
"""Compares `dejavu serve` with llama-server: throughput and latency, two stages against one, idle CPU, memory."""
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

from lib import options, results, stats
from lib.processes import Server, cpu_seconds, pss_bytes

PARTS = ["streams", "sampled", "stages", "idle", "memory"]
# As many clients ask; without it llama-server adds filters of its own.
SAMPLING = {"temperature": 0.8, "top_p": 0.95, "top_k": 0, "min_p": 0}


def our_server(given, *more):
    return options.our_server(given, "--standbys", "0", "--threads", str(given.threads), *more)


def llama_server(given, slots):
    """As many slots as streams, each with the whole context; no cache of prompts and no choice of slot by it."""
    threads = str(given.threads)
    return Server([f"{given.llama}/llama-server", "-m", given.model, "--alias", "model", "--host", "127.0.0.1",
                   "--port", "{port}", "-np", str(slots), "-c", str(slots * given.context), "-t", threads, "-tb",
                   threads, "--no-cache-prompt", "-cram", "0", "-sps", "0", "--no-webui"], ready_path="/health")


def load(given, url, streams, requests, sampling=None):
    """One run of our load generator; its report without the samples."""
    body = dict(sampling or {})
    temperature = body.pop("temperature", 0)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [*shlex.split(given.generator or given.dejavu + " bench"), "serve", "--url", url, "--concurrency",
                   str(streams), "--requests", str(requests), "--warm-up", str(streams), "--prompt-tokens",
                   str(given.prompt_tokens), "--output-tokens", str(given.output_tokens), "--temperature",
                   str(temperature), "--extra-body", json.dumps({"cache_prompt": False, **body}), "--json", file.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = json.loads(pathlib.Path(file.name).read_text())
    if report["completedCount"] != report["requestCount"] or report["lengthMismatchCount"]:
        raise RuntimeError(f"{url}: {report['failures']}, {report['lengthMismatchCount']} answers of a wrong length")
    del report["samples"]
    return report


def against_llama(given, name, streams, sampling=None):
    print(name, file=sys.stderr)
    with our_server(given) as ours, llama_server(given, streams) as theirs:
        urls = {"ours": ours.url, "theirs": theirs.url}
        requests = max(given.requests, 2 * streams)
        samples = stats.interleaved(lambda side: load(given, urls[side], streams, requests, sampling), list(urls),
                                    given.pairs)
    rows = []
    for what, pick, at_least in [
            ("output tok/s", lambda r: r["outputTokensPerSecond"], True),
            ("median first token, ms", lambda r: r["timeToFirstToken"]["p50"] * 1000, False),
            ("median inter-token, ms", lambda r: r["interToken"]["p50"] * 1000, False)]:
        row = stats.compare(*([pick(r) for r in samples[side]] for side in ("ours", "theirs")), 1.0, at_least)
        rows.append({"what": f"{name}: {what}", **row})
    return rows


def streams_rows(given):
    return [row for streams in given.streams for row in against_llama(given, f"{streams} streams", streams)]


def sampled_rows(given):
    return against_llama(given, "8 streams, temperature 0.8, top-p 0.95", 8, SAMPLING)


def bench_speed(given):
    out = subprocess.run([f"{given.llama}/llama-bench", "-m", given.model, "-p", "0", "-n", "128", "-t", "1", "-r",
                          "1", "-o", "json"], capture_output=True, text=True, check=True).stdout
    return json.loads(out)[0]["avg_ts"]


def machine_scaling(given):
    """What two independent processes of one thread reach together, over what one reaches."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        one = bench_speed(given)
        return sum(pool.map(lambda _: bench_speed(given), range(2))) / one


def stages_rows(given):
    streams, scaling = 16, []
    with our_server(given, "--stages", "1") as one, our_server(given, "--stages", "2") as two:
        urls = {"two": two.url, "one": one.url}

        def measure(side):
            if side == "two":
                scaling.append(machine_scaling(given))
            return load(given, urls[side], streams, 3 * streams)["outputTokensPerSecond"]

        samples = stats.interleaved(measure, list(urls), given.pairs)
    scaling = scaling[-given.pairs:]
    machine = stats.median_interval(scaling)[0]
    row = stats.compare(samples["two"], samples["one"], min(1.7, 0.85 * machine), True)
    row["bound"] += f" (this machine scales {machine:.2f}x)"
    return [{"what": "2 stages over 1 stage, 16 streams: output tok/s", **row, "machine_scaling": scaling}]


def idle_rows(given):
    with our_server(given) as ours:
        time.sleep(5)
        start, before = time.monotonic(), cpu_seconds(ours.pids())
        time.sleep(given.idle_seconds)
        share = 100 * (cpu_seconds(ours.pids()) - before) / (time.monotonic() - start)
    return [{"what": "idle CPU, % of one core", **stats.limit(share, 1, "%")}]


def memory_rows(given):
    used = {}
    for name, server in [("ours", our_server(given)), ("theirs", llama_server(given, 8))]:
        with server:
            load(given, server.url, 8, 100)
            used[name] = pss_bytes(server.pids()) / 2**20
    ratio = used["ours"] / used["theirs"]
    return [{"what": "PSS after 100 requests, MiB", **used, "ratio": ratio, "low": ratio, "high": ratio,
             "bound": "<= 1.15x", "verdict": stats.verdict(ratio, ratio, 1.15, False)}]


def main():
    parser = options.parser(__doc__, "Tools/bench-serve.py --streams 1 8 --pairs 5")
    options.add_llama(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=24, help="of each run, at least two for each stream")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--context", type=int, default=2048, help="of each slot of llama-server")
    parser.add_argument("--idle-seconds", type=float, default=30)
    parser.add_argument("--generator", default=None, help="load generator if not `dejavu bench`")
    given = parser.parse_args()
    before = results.environment()
    rows = [row for part in given.parts for row in globals()[part + "_rows"](given)]
    return results.write("serve", rows, before, given.out, llama_cpp=options.llama_version(given),
                         load={"prompt": given.prompt_tokens, "output": given.output_tokens, "threads": given.threads})


if __name__ == "__main__":
    sys.exit(main())
