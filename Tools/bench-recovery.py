#!/usr/bin/env python3
"""Measures recovery: pauses at the client, what is run again, what replicas cost, and the paper's two runs."""
import contextlib
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from lib import options, results, stats
from lib.client import get_json
from lib.network import Hosts
from lib.processes import Server, pss_bytes
from lib.streams import Stream, until

PARTS = ["kill", "kill-two", "kill-ring", "kill-prompt", "move", "lag", "cost", "memory", "cut", "paper-one",
         "paper-many"]
STREAMS = 8
TOPOLOGIES = {"kill": ("1 stage, 1 standby", []), "kill-two": ("2 stages, 1 standby", ["--stages", "2"]),
              "kill-ring": ("2 stages, the neighbour takes over", ["--stages", "2", "--standbys", "0"]),
              "kill-prompt": ("1 prompt stage, 1 token stage, 1 standby",
                              ["--prompt-stages", "1", "--token-stages", "1", "--disaggregate-above", "4"])}


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def chaos(given, count, faults, *serve):
    """A run of `dejavu bench chaos`; every text must be equal. Its report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [*shlex.split(given.dejavu), "bench", "chaos", given.model, "--kills", str(count), "--faults", faults,
                   "--target", "stage", "--concurrency", str(STREAMS), "--requests", str(STREAMS), "--tokens", "200",
                   "--calm", "0.3-1.3", "--json", file.name, "--", "--restart-delay", "1", *serve,
                   *shlex.split(given.serve_arguments)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return json.loads(pathlib.Path(file.name).read_text())


def kill_rows(given, part):
    name, serve = TOPOLOGIES[part]
    count = given.kills if part == "kill" else given.kills // 2
    report = chaos(given, count, "kill", *serve)
    pauses = [1000 * pause for strike in report["strikes"] for pause in strike["pauseSeconds"]]
    again = report["positionsRunAgain"] / count / STREAMS
    rows = [{"what": f"{name}: pause after kill -9, median over {len(pauses)} streams, ms",
             **stats.limit(statistics.median(pauses), 250 if part == "kill" else 500, "ms")}]
    worst = {"what": f"{name}: the worst of them, ms", **stats.limit(max(pauses), 1000, "ms")}
    if part != "kill":
        worst.update(bound="", verdict="measured")
    if part == "kill-prompt":
        # There is no bar for it.
        rows[0].update(bound="", verdict="measured")
    rows.append({**worst, "samples": {"ours": pauses}})
    rows.append({"what": f"{name}: positions run again for each kill and stream", **stats.limit(again, 2, "steps")})
    return rows


def move_rows(given):
    """A stage's worker is asked to end: how much longer than usual the longest gap until it has ended is."""
    rows = []
    for name, serve in (TOPOLOGIES["kill"], TOPOLOGIES["kill-two"]):
        report = chaos(given, max(given.kills // 2, 2), "drain", *serve)
        steps = [(pause - usual) / usual for strike in report["strikes"]
                 for pause, usual in zip(strike["pauseSeconds"], strike["usualGapSeconds"])]
        rows.append({"what": f"{name}: planned move, pause beyond the usual gap, median, steps",
                     **stats.limit(statistics.median(steps), 1, "step"), "samples": {"ours": steps}})
        rows.append({"what": f"{name}: planned move, p99 over {len(steps)} streams, steps",
                     **stats.limit(percentile(steps, 0.99), 3, "steps")})
        rows.append({"what": f"{name}: positions run again in {len(report['strikes'])} moves",
                     **stats.limit(report["positionsRunAgain"], 0, "")})
    return rows


def load(given, url, requests=None):
    """A run of our load generator; its report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [*shlex.split(given.dejavu), "bench", "serve", "--url", url, "--concurrency", str(STREAMS),
                   "--requests", str(requests or given.requests), "--warm-up", str(STREAMS), "--prompt-tokens", "64",
                   "--output-tokens", "128", "--json", file.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = json.loads(pathlib.Path(file.name).read_text())
    if report["completedCount"] != report["requestCount"]:
        raise RuntimeError(f"{url}: {report['failures']}")
    return report


@contextlib.contextmanager
def sampled(url, interval, pick):
    """Collects pick(cluster) again and again while the body runs."""
    samples, ending = [], threading.Event()

    def work():
        while not ending.wait(interval):
            value = pick(get_json(url + "/cluster")["cluster"])
            if value is not None:
                samples.append(value)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield samples
    finally:
        ending.set()
        thread.join()


def is_well(cluster):
    # Stages of prompt pipelines have no replicas.
    return cluster["ready"] and all(stage["worker"] and (stage["replica_ready"] or pipeline["role"] == "prompt")
                                    for pipeline in cluster["pipelines"] for stage in pipeline["stages"])


def wait_until_well(url):
    until(lambda: is_well(get_json(url + "/cluster")["cluster"]), what="a replica of every stage")


def lag_rows(given):
    def lag(cluster):
        running = cluster["sequences_running"]
        lags = [stage["replica_lag"] for pipeline in cluster["pipelines"] for stage in pipeline["stages"]]
        # What a prompt's chunk adds at once is no lag of steps.
        return max(lags) / running if running == STREAMS else None

    body = {"prompt": "Once upon a time", "max_tokens": 900, "temperature": 0, "ignore_eos": True}
    rows = []
    for name, serve in (TOPOLOGIES["kill"], TOPOLOGIES["kill-two"]):
        with options.our_server(given, *serve) as server:
            wait_until_well(server.url)
            with sampled(server.url, 0.01, lag) as samples:
                for stream in [Stream(server.url, body) for _ in range(STREAMS)]:
                    stream.result()
        rows.append({"what": f"{name}: the replica's lag, p99 of {len(samples)} samples, steps",
                     **stats.limit(percentile(samples, 0.99), 2, "steps"), "samples": {"ours": samples}})
    return rows


def cost_rows(given):
    with options.our_server(given) as standby, options.our_server(given, "--standbys", "0") as none:
        wait_until_well(standby.url)
        urls = {"standby": standby.url, "none": none.url}
        samples = stats.interleaved(lambda side: load(given, urls[side])["outputTokensPerSecond"], list(urls),
                                    given.pairs)
    row = stats.compare(samples["standby"], samples["none"], 0.95, True)
    return [{"what": f"the default standby over none, {STREAMS} streams: output tok/s", **row}]


def memory_rows(given):
    used = {}
    for name, serve in (("standby", []), ("none", ["--standbys", "0"])):
        with options.our_server(given, *serve) as server:
            if name == "standby":
                wait_until_well(server.url)
            def kv(cluster):
                return sum(pipeline["kv_bytes_used"] for pipeline in cluster["pipelines"])
            with sampled(server.url, 0.05, kv) as samples:
                load(given, server.url, 32)
            used[name] = pss_bytes(server.pids()) / 2**20, max(samples) / 2**20
    more, replica = used["standby"][0] - used["none"][0], used["standby"][1]
    row = stats.limit(more, round(replica + 60), "MiB")
    return [{"what": f"PSS that the default standby adds, MiB (its replica: {replica:.0f})", **row, "used": used}]


def cut_rows(given):
    """The network of the stage's worker is cut without a word: packets vanish."""
    if why := Hosts.why_not():
        return [{"what": "a network that is cut silently", "ours": why, "bound": "<= 1000 ms", "verdict": stats.UNSURE}]
    body = {"prompt": "Once upon a time", "max_tokens": 400, "temperature": 0, "ignore_eos": True}
    pauses = []
    with Hosts(2) as hosts, tempfile.NamedTemporaryFile("w") as key, contextlib.ExitStack() as stack:
        key.write("a key that only this benchmark has")
        key.flush()
        dejavu = shlex.split(given.dejavu)
        address = hosts.server_address
        server = stack.enter_context(Server(
            [*hosts.server(), *dejavu, "serve", given.model, "--listen", f"{address}:{{port}}", "--insecure",
             "--cluster-listen", f"{address}:7777", "--cluster-key-file", key.name, "--local-workers", "0", "--threads",
             "1"], ready_path="/health", host=address))
        url = server.url
        for index in range(2):
            worker = subprocess.Popen(
                [*hosts.worker(index), *dejavu, "worker", "--join", f"{address}:7777", "--model", given.model,
                 "--cluster-key-file", key.name, "--threads", "1", "--name", f"host-{index}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(worker.wait)
            stack.callback(worker.kill)
        expected = None
        for trial in range(given.cuts):
            wait_until_well(url)
            streams = [Stream(url, body) for _ in range(STREAMS)]
            until(lambda: all(len(stream.times) > 20 for stream in streams), what="the streams' first tokens")
            workers = get_json(url + "/cluster")["cluster"]["workers"]
            victim = next(int(w["name"].split("-")[1]) for w in workers if w["stage"] is not None)
            moment = time.monotonic()
            hosts.cut(victim)
            texts = {stream.result() for stream in streams}
            expected = expected or texts
            if texts != expected or len(texts) != 1:
                raise AssertionError("a text differs after the cut")
            pauses += [1000 * pause for stream in streams if (pause := stream.pause_after(moment)) is not None]
            hosts.mend(victim)
            print(f"  cut {trial + 1}: {max(pauses[-STREAMS:]):.0f} ms", file=sys.stderr)
    return [{"what": f"1 stage, 1 standby, network of one cut silently: pause, median over {len(pauses)} streams, ms",
             **stats.limit(statistics.median(pauses), 1000, "ms"), "samples": {"ours": pauses}}]


class PaperRun:
    """Requests of 500 + 1000 tokens, four at once, against 4 emulated stages of OPT-66B.

    `restarts` is what a system without replicas does: when a worker dies all requests begin anew.
    """
    WIDTH = 4

    def __init__(self, url, count, kills, restarts=False):
        self.url, self.left, self.restarts, self.done = url, count, restarts, 0
        self.lock, self.streams = threading.Lock(), {}
        self.begun = time.monotonic()
        killer = threading.Thread(target=self.kill, args=(kills,), daemon=True)
        killer.start()
        threads = [threading.Thread(target=self.work, args=(lane,)) for lane in range(self.WIDTH)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - self.begun

    def work(self, lane):
        while True:
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
            while not self.one(lane):
                wait_until_placed(self.url)

    def one(self, lane):
        """Whether the request ended; else it was given up."""
        stream = Stream(self.url, {"prompt": "x" * 500, "max_tokens": 1000, "temperature": 0})
        with self.lock:
            self.streams[lane] = stream
        stream.result()
        return not stream.is_stopped

    def kill(self, kills):
        for moment in kills:
            time.sleep(max(0, self.begun + moment - time.monotonic()))
            workers = get_json(self.url + "/cluster")["cluster"]["workers"]
            victim = next((w for w in workers if w["stage"] is not None and w["stage"] > 0), None)
            if victim is None:
                victim = next(w for w in workers if w["stage"] is not None)
            subprocess.run(["kill", "-9", str(victim["process_id"])], check=True)
            if self.restarts:
                with self.lock:
                    for stream in self.streams.values():
                        stream.stop()


def wait_until_placed(url):
    def placed():
        pipelines = get_json(url + "/cluster")["cluster"]["pipelines"]
        return all(pipeline["state"] == "serving" for pipeline in pipelines)
    until(placed, what="a worker for every stage")


def paper_server(given, folder, time_scale, *serve):
    profile = json.loads(subprocess.run([*shlex.split(given.dejavu), "profile", "opt-66b", "--json"], check=True,
                                        capture_output=True, text=True).stdout)
    profile["timeScale"] = time_scale
    path = pathlib.Path(folder, "opt-66b.json")
    path.write_text(json.dumps(profile))
    return Server([*shlex.split(given.dejavu), "serve", f"emulated:{path}", "--listen", "127.0.0.1:{port}", "--stages",
                   "4", *serve])


def paper_time(given, time_scale, serve, count, kills, restarts=False):
    with tempfile.TemporaryDirectory() as folder, paper_server(given, folder, time_scale, *serve) as server:
        if "off" not in serve:
            wait_until_well(server.url)
        seconds = PaperRun(server.url, count, kills, restarts).seconds
        emulation = get_json(server.url + "/cluster")["cluster"]["emulation"]
        print(f"  {seconds:.1f} s, kills at {kills}, {' '.join(serve)}: {emulation}", file=sys.stderr)
        return seconds, emulation["valid"]


SIDES = {"standby": [["--standbys", "1"], False],
         "no replacement": [["--standbys", "0", "--restart-delay", "3600"], False],
         "restart": [["--standbys", "1", "--replicate", "off"], True]}


def paper_rows(given, what, time_scale, count, moments, bounds):
    whole, valid = paper_time(given, time_scale, SIDES["standby"][0], count, [])
    kills = [share * whole for share in moments]
    times = {"none": whole}
    for side, (serve, restarts) in SIDES.items():
        times[side], is_valid = paper_time(given, time_scale, serve, count, kills, restarts)
        valid = valid and is_valid
    rows = []
    for name, ours, theirs, bound, at_least in bounds:
        ratio = times[ours] / times[theirs]
        holds = ratio >= bound if at_least else ratio <= bound
        verdict = (stats.PASS if holds else stats.FAIL) if bound else "measured"
        rows.append({"what": f"{what}: {name}, s", "ours": times[ours], "theirs": times[theirs], "ratio": ratio,
                     "low": ratio, "high": ratio, "bound": f"{'>=' if at_least else '<='} {bound:g}x" if bound else "",
                     "verdict": verdict if valid else "invalid: emulated devices were late",
                     "time_scale": time_scale, "times": times})
    return rows


def paper_one_rows(given):
    return paper_rows(
        given, f"OPT-66B, 4 stages, one failure at position 1200 (times {given.time_scale:g})", given.time_scale, 4,
        [0.7], [("one failure / none", "standby", "none", 1.10, False),
                ("the same without a replacement", "no replacement", "none", 0, False),
                ("restarting / none", "restart", "none", 0, True)])


def paper_many_rows(given):
    # A run of 2000 s, of which the failures come at 600, 1200 and 1800.
    return paper_rows(
        given, f"OPT-66B, 4 stages, failures at 600, 1200, 1800 of 2000 s (times {given.time_scale:g})",
        given.time_scale, given.paper_requests, [0.3, 0.6, 0.9],
        [("restarting / a standby", "restart", "standby", 1.16, True),
         ("restarting / no replacement at all", "restart", "no replacement", 1.16, True),
         ("failures / none", "standby", "none", 0, False)])


def rows_of(given, part):
    if part.startswith("kill"):
        return kill_rows(given, part)
    return globals()[part.replace("-", "_") + "_rows"](given)


def main():
    parser = options.parser(__doc__, "Tools/bench-recovery.py --parts kill --kills 10")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--cuts", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5, help="interleaved measurements of each side")
    parser.add_argument("--requests", type=int, default=24, help="of each run that measures what replicas cost")
    parser.add_argument("--time-scale", type=float, default=0.2, help="of the emulated devices")
    parser.add_argument("--paper-requests", type=int, default=16)
    given = parser.parse_args()
    before = results.environment()
    rows = []
    for part in given.parts:
        print(part, file=sys.stderr)
        rows += rows_of(given, part)
    return results.write("recovery", rows, before, given.out)


if __name__ == "__main__":
    sys.exit(main())
