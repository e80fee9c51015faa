"""Verifications that something dies or is cut, and nobody notices."""
import json
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import tempfile
import threading
import urllib.parse

from lib import resumable
from lib.checks import PROMPTS, check, expect, tool
from lib.client import complete, get_json, get_text, stream_tokens
from lib.cuttable import CuttableProxy
from lib.processes import pss_bytes, tree
from lib.server import Server, children_of


@check
def state(options):
    """A second `serve` on a state directory fails and says why; the first goes on, and its end leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder, "state")
        with Server(options.binary, options.model, "--state-dir", folder) as server:
            command = [options.binary, "serve", options.model, "--listen", "127.0.0.1:0", "--state-dir", str(folder)]
            second = subprocess.run(command, capture_output=True, text=True, timeout=60)
            expect(second.returncode == 1, f"the second serve ended with {second.returncode}")
            words = second.stderr
            expect(str(server.process.pid) in words and str(folder) in words and "--state-dir" in words,
                   f"the second serve does not say what is wrong: {words}")
            expect(complete(server.url, PROMPTS[0], max_tokens=8), "the second serve has harmed the first")
            workers = children_of(server.process.pid)
            server.process.send_signal(signal.SIGTERM)
            expect(server.process.wait(timeout=30) == 0, "SIGTERM did not end the server with 0")
            expect(not [w for w in workers if pathlib.Path(f"/proc/{w}").exists()], "a worker was left behind")
        left = sorted(path.name for path in folder.iterdir())
        expect(left == ["lock", "term"], f"the state directory has {left}")
        with Server(options.binary, options.model, "--state-dir", folder) as server:
            expect(complete(server.url, PROMPTS[0], max_tokens=8), "the directory cannot be used again")


@check
def kill(options):
    """`kill -9` of any worker in mid-answer: every text equals the undisturbed one, and no client sees an error."""
    rounds = 2 if options.quick else 10
    count = 120
    jobs = [dict(prompt=p, max_tokens=count, temperature=t, seed=11, ignore_eos=True)
            for p in PROMPTS for t in (0, 0.8)]
    quick = [((0, 2), 1), ((1, 1), 1)]
    for (prompts, stages), standbys in (
            quick if options.quick else [((0, 1), 1), *quick, ((0, 2), 0), ((0, 3), 1), ((1, 1), 0), ((1, 2), 1)]):
        topology = (["--prompt-stages", prompts, "--token-stages", stages, "--disaggregate-above", 4] if prompts
                    else ["--stages", stages])
        name = f"{prompts}+{stages}" if prompts else f"{stages} stages"
        with Server(options.binary, options.model, *topology, "--threads", 1, "--standbys", standbys) as server:
            undisturbed = stream_tokens(server.url, jobs)
            pauses = []
            for number in range(rounds):
                server.wait_for_replicas()
                def strike(seen):
                    if seen == 40 * (1 + number % 4):
                        victims = server.stage_processes()
                        os.kill(victims[number % len(victims)], signal.SIGKILL)
                texts = stream_tokens(server.url, jobs, on_token=strike)
                expect(texts == undisturbed, f"{name}, round {number}: a text differs after the kill")
                last = get_json(server.url + "/cluster")["cluster"]["last_recovery"]
                pauses.append(round(1000 * last["pause_seconds"]) if last else None)
            cluster = get_json(server.url + "/cluster")["cluster"]
            lost = cluster["workers_lost"]
            expect(lost >= rounds, f"only {lost} of {rounds} kills were noticed")
            again = cluster["positions_run_again"]
            print(f"  {name}, {standbys} standbys: {cluster['takeovers']} of {lost} by replicas,"
                  f" {again} positions run again, pauses {pauses} ms")
            if standbys > 0 and not prompts:
                # Without replicas each kill costs every stream its prompt and 20 tokens or more.
                expect(cluster["takeovers"] == rounds, f"{cluster['takeovers']} takeovers in {rounds} kills")
                expect(again <= rounds * len(jobs) * 3, f"{again} positions were run again in {rounds} kills")


@check
def resume(options):
    """Streams cut anywhere and taken up again, also over a killed worker: the same bytes, greedy, seeded, n > 1."""
    rounds = 6 if options.quick else 60
    rng = random.Random(1)
    jobs = [dict(prompt=p, max_tokens=60, temperature=t, seed=5, n=n, ignore_eos=True, logprobs=l)
            for p, t, n, l in zip(PROMPTS, (0, 0.8, 0, 0.8), (1, 1, 2, 2), (None, None, None, 2))]
    with Server(options.binary, options.model, "--stages", 2, "--threads", 1) as server:
        # Several choices may interleave otherwise in another request; each by itself is the same.
        wanted = [texts_of(b"".join(resumable.follow(server.url, job, f"undisturbed-{index}")))
                  for index, job in enumerate(jobs)]
        killed = 0
        for number in range(rounds):
            job = jobs[number % len(jobs)]
            with_kill = number % 3 == 2
            if with_kill:
                server.wait_for_replicas()
            key = f"cut-{number}"
            parts = resumable.follow(server.url, job, key, cuts=rng.randint(1, 4), rng=rng, on_cut=lambda count: (
                os.kill(server.stage_processes()[number % 2], signal.SIGKILL) if with_kill and count == 1 else None))
            killed += with_kill
            whole = resumable.follow(server.url, job, key)
            expect(b"".join(parts) == b"".join(whole), f"round {number}: the pieces are not the whole")
            expect(texts_of(b"".join(whole)) == wanted[number % len(jobs)], f"round {number}: another text")
        again = get_text(server.url + "/metrics")
        print(f"  {rounds} streams cut and taken up, {killed} over a killed worker;"
              f" {re.search(r'resumed_total.*key.* (.*)', again).group(1)} times by key")


def texts_of(stream):
    """The text of each choice of a streamed completion."""
    texts = {}
    for line in stream.decode().splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts


@check
def chat(options):
    """`dejavu chat` goes on with its answer when its connection is cut, as if nothing had been."""
    with Server(options.binary, options.model) as server:
        def talk(url, at_bytes=None, proxy=None):
            command = [options.binary, "chat", "--url", url, "--temperature", "0", "--max-tokens", "250"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            timer = threading.Timer(120, process.kill)
            timer.start()
            process.stdin.write(b"Write a long story about the sea, the wind and a ship.\n")
            process.stdin.close()
            text = b""
            while more := process.stdout.read1(4096):
                text += more
                if at_bytes is not None and len(text) >= at_bytes:
                    at_bytes = None
                    proxy.cut()
                    threading.Timer(0.5, proxy.mend).start()
            timer.cancel()
            expect(process.wait() == 0, f"chat ended with {process.returncode}")
            return text
        undisturbed = talk(server.url)
        expect(len(undisturbed) > 400, f"only {len(undisturbed)} bytes came")
        proxy = CuttableProxy("127.0.0.1", urllib.parse.urlsplit(server.url).port)
        for at_bytes in (1, 60, 200):
            expect(talk(proxy.url, at_bytes, proxy) == undisturbed, f"cut after {at_bytes} bytes: another text")
        proxy.close()
        resumed = re.search(r"resumed_total.*key.* (.*)", get_text(server.url + "/metrics"))
        expect(resumed and float(resumed.group(1)) >= 3, "the answers were not taken up again")


@check
def chaos(options):
    """Workers and links struck under load, over topologies and roles, and poison: all texts equal, no error."""
    links = "cut,silence,corrupt,drain"
    split = "--prompt-stages 1 --token-stages {} --disaggregate-above 4 --standbys {}"
    plans = [("--standbys 1", "kill", "stage", 50), ("--stages 2 --standbys 1", "kill", "any", 60),
             ("--stages 2 --standbys 0", "kill", "stage", 40), ("--stages 3 --standbys 1", "kill", "any", 50),
             ("--standbys 1", "pause,slow", "any", 20), ("--stages 3 --standbys 1", "kill,pause,slow", "any", 20),
             ("--standbys 1", links, "any", 20), ("--stages 2 --standbys 1", links, "any", 40),
             ("--stages 2 --standbys 0", links, "any", 20), ("--standbys 1", "poison", "any", 5),
             ("--stages 2 --standbys 1", "poison,kill", "any", 10),
             (split.format(1, 1), "kill,pause", "any", 30), (split.format(2, 0), "kill", "stage", 30),
             (split.format(1, 1), "kill,cut,silence", "prompt", 20), (split.format(1, 1), links, "token", 20),
             (split.format(1, 1), "poison,kill", "any", 10)]
    if options.quick:
        plans = [("--standbys 1", "kill", "any", 2), ("--stages 2 --standbys 1", "kill,pause", "stage", 3),
                 ("--stages 2 --standbys 1", links + ",poison", "any", 5),
                 (split.format(1, 1), links + ",kill,poison", "any", 5)]
    for topology, faults, target, count in plans:
        command = [options.binary, "bench", "chaos", options.model, "--kills", count, "--faults", faults,
                   "--target", target, "--tokens", 60 if options.quick else 120,
                   "--concurrency", 4 if options.quick else 8, "--", "--threads", 1, "--restart-delay", 1,
                   *topology.split()]
        print(f"  serve {topology}:", flush=True)
        subprocess.run([str(part) for part in command], check=True)


@check
def chaos_soak(options):
    """A quarter of an hour with a random fault every few seconds: memory level, every text equal, nothing left held."""
    with tempfile.TemporaryDirectory() as folder:
        token = 5
        made_for_it = ["--link-faults", folder, "--poison-token", token]
        with Server(options.binary, options.model, "--stages", 2, "--threads", 1, "--restart-delay", 1,
                    *made_for_it) as server:
            server.wait_for_replicas()
            used, ending = [], threading.Event()

            def sample():
                while not ending.wait(5):
                    used.append(pss_bytes(tree(server.process.pid)) / 2**20)
            sampler = threading.Thread(target=sample)
            sampler.start()
            command = [options.binary, "bench", "chaos", "--url", server.url, *made_for_it, "--faults", "all",
                       "--target", "any", "--relentless", "--calm", "1-6", "--seconds", 60 if options.quick else 900]
            try:
                subprocess.run([str(part) for part in command], check=True)
            finally:
                ending.set()
                sampler.join()
            third = len(used) // 3
            middle, last = statistics.median(used[third:2 * third]), statistics.median(used[2 * third:])
            print(f"  memory of all processes: {middle:.0f} MiB in the middle, {last:.0f} in the end")
            expect(last <= middle * 1.1 + 4, f"memory grew from {middle:.0f} to {last:.0f} MiB")
            expect(any(is_empty(server.url) for _ in range(100)), "sequences or their cells are left over")


def is_empty(url):
    """Whether nothing runs and no cell is held; a probe may be on its way."""
    cluster = get_json(url + "/cluster")["cluster"]
    time.sleep(0.1)
    return (cluster["sequences_running"] == 0 and cluster["sequences_parked"] == 0 and
            all(pipeline["cells_used"] == 0 for pipeline in cluster["pipelines"]))


@check
def demo(options):
    """The demo's page in headless Chromium: workers killed in mid-answer, which ends as it would have."""
    with Server(options.binary, options.model, "--demo", "--stages", 2, "--threads", 1) as server:
        server.wait_for_replicas()
        tool("demo-test.py", server.url, *(["--pictures", options.pictures] if options.pictures else []))
    refused = subprocess.run(
        [options.binary, "serve", options.model, "--demo", "--insecure", "--listen", "0.0.0.0:0"],
        capture_output=True, text=True, timeout=60)
    expect(refused.returncode != 0 and "loopback" in refused.stderr, "a demo for everyone was not refused")
