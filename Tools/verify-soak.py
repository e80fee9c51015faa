#!/usr/bin/env python3
"""Soaks a server with clients that leave in the middle of their streams: memory must not grow, no cell may be lost."""
import http.client
import json
import random
import re
import statistics
import sys
import threading
import time

from lib import options, results, stats
from lib.processes import get, pss_bytes

CELLS = re.compile(r"^(dejavu_kv_used_bytes|dejavu_sequences_running)(\{[^}]*\})? ([0-9.eE+]+)$", re.M)


class Client(threading.Thread):
    """Asks, reads some events, and leaves: mostly in the middle, sometimes at once, sometimes never."""

    def __init__(self, port, seed, stop):
        super().__init__(daemon=True)
        self.port, self.random, self.stop = port, random.Random(seed), stop
        self.counts = {"left": 0, "whole": 0, "refused": 0, "errors": 0}

    def run(self):
        while not self.stop.is_set():
            try:
                self.counts[self.one()] += 1
            except (OSError, http.client.HTTPException):
                self.counts["errors"] += 1
                time.sleep(0.05)

    def one(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            words = self.random.choices(["the", "sea", "house", "over", "light"], k=self.random.randint(1, 400))
            body = {"prompt": " ".join(words), "max_tokens": self.random.randint(1, 128), "stream": True,
                    "ignore_eos": True, "n": self.random.choice([1, 1, 1, 3]), "seed": self.random.randrange(1 << 30)}
            connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
            leave_after = self.random.choice([0, 1, 2, 5, 20, 10**6])
            if leave_after == 0:
                return "left"
            answer = connection.getresponse()
            if answer.status != 200:
                answer.read()
                time.sleep(0.1)
                return "refused"
            for line in answer:
                leave_after -= line.startswith(b"data:")
                if leave_after <= 0:
                    return "left"
            return "whole"
        finally:
            connection.close()


def held(url):
    """What is still held, by metric; empty if nothing is."""
    found = CELLS.findall(get(url + "/metrics"))
    if not found:
        raise RuntimeError("/metrics tells nothing of cells")
    return {name + labels: float(value) for name, labels, value in found if float(value) != 0}


def main():
    parser = options.parser(__doc__, "Tools/verify-soak.py --seconds 60 --clients 8")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=12)
    given = parser.parse_args()
    before = results.environment()
    stop, sizes = threading.Event(), []
    with options.our_server(given, "--threads", "1") as server:
        clients = [Client(server.port, seed, stop) for seed in range(given.clients)]
        for client in clients:
            client.start()
        end = time.monotonic() + given.seconds
        while time.monotonic() < end:
            time.sleep(min(2, given.seconds / 90))
            if not server.is_alive():
                raise RuntimeError("the server ended")
            sizes.append(pss_bytes(server.pids()))
        stop.set()
        for client in clients:
            client.join(130)
        deadline = time.monotonic() + 30
        while (left := held(server.url)) and time.monotonic() < deadline:
            time.sleep(0.5)
        get(server.url + given.ready_path)
    counts = {key: sum(client.counts[key] for client in clients) for key in clients[0].counts}
    third = len(sizes) // 3
    second, last = (statistics.median(part) / 2**20 for part in (sizes[third:2 * third], sizes[2 * third:]))
    rows = [
        {"what": "median PSS of the last third over the second, MiB", "ours": last, "theirs": second,
         "ratio": last / second, "low": last / second, "high": last / second, "bound": "<= 1.02x",
         "verdict": stats.verdict(last / second, last / second, 1.02, False)},
        {"what": "cells and sequences held at the end", **stats.limit(sum(left.values()), 0, "")},
        {"what": "requests whose client left", "ours": counts["left"], "bound": ">= 1",
         "verdict": stats.PASS if counts["left"] else stats.FAIL},
        {"what": "requests read to the end", "ours": counts["whole"], "bound": ">= 1",
         "verdict": stats.PASS if counts["whole"] else stats.FAIL},
        {"what": "connections that broke", **stats.limit(counts["errors"], 0, "")},
    ]
    return results.write("soak", rows, before, given.out, pss_bytes=sizes, clients=counts, held=left)


if __name__ == "__main__":
    sys.exit(main())
