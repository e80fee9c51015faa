"""Starts `dejavu serve` for a test or a benchmark, and leaves nothing behind."""
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request


def children_of(pid):
    """Process ids of a process's direct children."""
    children = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        children += [int(c) for c in (task / "children").read_text().split()]
    return children


class Server:
    """A running server on a free port of loopback; `url` answers once the constructor has returned."""

    def __init__(self, binary, model, *arguments, ready_seconds=120):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="dejavu-", suffix=".log", delete=False)
        command = [str(binary), "serve", str(model), "--listen", "127.0.0.1:0", *map(str, arguments)]
        words = [str(a) for a in arguments]
        self.standbys = int(words[words.index("--standbys") + 1]) if "--standbys" in words else 1
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = None
        timer = threading.Timer(ready_seconds, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            if found := re.search(r"https?://\S+", line):
                self.url = found.group(0)
                break
        timer.cancel()
        if self.url is None:
            self.close()
            raise RuntimeError(f"the server did not get ready:\n{self.tail()}")

    def stage_processes(self):
        """Process ids of the workers that run a stage now."""
        with urllib.request.urlopen(self.url + "/cluster", timeout=10) as answer:
            workers = json.load(answer)["cluster"]["workers"]
        return [w["process_id"] for w in workers if w["stage"] is not None]

    def wait_for_replicas(self, seconds=60):
        """Until every stage runs and has a replica, as far as there is a standby to hold it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with urllib.request.urlopen(self.url + "/cluster", timeout=10) as answer:
                cluster = json.load(answer)["cluster"]
            standbys = [w for w in cluster["workers"] if w["stage"] is None]
            running = all(s["worker"] for p in cluster["pipelines"] for s in p["stages"])
            stages = [s for p in cluster["pipelines"] if p["role"] != "prompt" for s in p["stages"]]
            if running and (self.standbys == 0 or standbys and all(s["replica_ready"] for s in stages)):
                return
            time.sleep(0.05)
        raise AssertionError("some stage has no replica")

    def tail(self, lines=30):
        """The end of what the server has logged."""
        return "".join(pathlib.Path(self.log.name).read_text().splitlines(keepends=True)[-lines:])

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        self.close()
        if error is not None:
            print(f"the server's log ends with:\n{self.tail()}")
        pathlib.Path(self.log.name).unlink(missing_ok=True)
