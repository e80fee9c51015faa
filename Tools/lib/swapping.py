"""What verifications of swapping share, and the one of its budgets."""
import contextlib
import tempfile
import threading

from lib.checks import PROMPTS, check, expect
from lib.client import get_json, stream_tokens
from lib.processes import pss_bytes, tree
from lib.server import Server

ON = ["--swap", "on"]


@contextlib.contextmanager
def folder(arguments):
    """Arguments with {directory} filled in, for as long as there is one."""
    with tempfile.TemporaryDirectory(prefix="dejavu-swap-") as path:
        yield [str(argument).replace("{directory}", path) for argument in arguments]


def fetches(cluster):
    return sum(pipeline["swap"]["fetches"] for pipeline in cluster["pipelines"] if pipeline["swap"])


DEVICE, HOST = 24 << 20, 320 << 20
# What the processes take besides: programs, packed weights, graphs, buffers of links and copies.
REST = 320 << 20


@check
def budgets(options):
    """Ten times as much KV as the device holds: memory stays within what was given, and every request ends."""
    # Each reserves 256 or 512 positions of 23,040 bytes: together at least 11 times the device.
    count, tokens = (48, 100) if options.quick else (64, 450)
    jobs = [dict(prompt=PROMPTS[number % len(PROMPTS)], max_tokens=tokens, temperature=0.7, seed=number,
                 ignore_eos=True) for number in range(count)]
    with folder(["--device-memory", DEVICE, "--host-memory", HOST, *ON]) as arguments, \
            Server(options.binary, options.model, *arguments, "--standbys", 0, "--threads", 1) as server:
        samples, done = [], threading.Event()

        def watch():
            while not done.wait(0.1):
                samples.append(pss_bytes(tree(server.process.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            texts = stream_tokens(server.url, jobs)
        finally:
            done.set()
            watcher.join()
        cluster = get_json(server.url + "/cluster")["cluster"]
    expect(len(texts) == len(jobs) and all(texts), "a request did not end with a text")
    pipeline = cluster["pipelines"][0]
    expect(fetches(cluster) > 100, "nothing was swapped")
    reserved = pipeline["kv_bytes_total"]
    expect(reserved <= HOST, f"{reserved} bytes of cells in {HOST} of host memory")
    most, allowed = max(samples), DEVICE + HOST + REST
    print(f"  at most {most >> 20} MiB of {allowed >> 20} in {len(samples)} samples; {fetches(cluster)} fetches")
    expect(most <= allowed, f"{most} bytes of memory, {allowed} are allowed")
