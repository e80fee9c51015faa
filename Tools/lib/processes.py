"""Starts servers on loopback, watches what they use, and always ends what it started."""
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=10):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def post(url, body, timeout=120):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def stat(pid):
    """(parent, start time, CPU seconds) of a process, None if it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / TICKS


def tree(root):
    """A process and all its descendants, as {pid: start time}."""
    every = {int(p): s for p in os.listdir("/proc") if p.isdigit() and (s := stat(p))}
    found = {root: every[root][1]} if root in every else {}
    grown = True
    while grown:
        new = {p: s[1] for p, s in every.items() if s[0] in found and p not in found}
        found |= new
        grown = bool(new)
    return found


def pss_bytes(pids):
    """Proportional set size of all: pages that they share count once."""
    total = 0
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def cpu_seconds(pids):
    return sum(s[2] for pid in pids if (s := stat(pid)))


class Server:
    """A server process group as a context: ready inside, gone after it.

    `command` may hold {port}. Its output goes to a temporary file, of which the end is shown if it does not get ready.
    """

    def __init__(self, command, ready_path="/ready", ready_seconds=120, host="127.0.0.1"):
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        self.command = [part.replace("{port}", str(self.port)) for part in
                        (shlex.split(command) if isinstance(command, str) else command)]
        self.ready_path, self.ready_seconds = ready_path, ready_seconds
        self.known = {}

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile(prefix="server-", suffix=".log")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_ready(self):
        end = time.monotonic() + self.ready_seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                get(self.url + self.ready_path, timeout=5)
                self.pids()
                return
            except OSError:
                time.sleep(0.1)
        tail = pathlib.Path(self.log.name).read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{shlex.join(self.command)} did not become ready:\n{tail}")

    def pids(self):
        """The server's processes now. Remembers them: one that outlives its parent must be ended all the same."""
        now = tree(self.process.pid)
        self.known |= now
        return list(now)

    def is_alive(self):
        return self.process.poll() is None

    def __exit__(self, *_):
        self.pids()
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid, started in self.known.items():
            if pid != self.process.pid and (s := stat(pid)) and s[1] == started:
                os.kill(pid, signal.SIGKILL)
        self.log.close()
