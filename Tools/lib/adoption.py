"""Verifications of the server's own end: it is killed and started again, and its workers are, one after the other."""
import http.client
import json
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

from lib.checks import PROMPTS, check, expect
from lib.client import get_json
from lib.processes import free_port, stat
from lib.server import Server, children_of

BROKEN = (OSError, http.client.HTTPException)


class Client:
    """Follows one completion to its end, over however many connections it takes.

    `by` says how it comes back: `key` posts again with its Idempotency-Key, `events` asks for the events of its
    request, `never` does not.
    """

    def __init__(self, url, job, name, by):
        self.address = urllib.parse.urlsplit(url).netloc
        self.job, self.name, self.by = job, name, by
        self.blocks, self.last, self.done, self.connections, self.error = [], None, False, 0, None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def request(self):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        headers = {"content-type": "application/json"}
        if self.last:
            headers["last-event-id"] = self.last
        if self.by == "events" and self.last:
            connection.request("GET", f"/v1/requests/{self.last.rpartition(':')[0]}/events", headers=headers)
        else:
            if self.by != "never":
                headers["idempotency-key"] = self.name
            connection.request("POST", "/v1/completions", json.dumps(dict(self.job, stream=True)).encode(), headers)
        return connection, connection.getresponse()

    def run(self):
        end = time.monotonic() + 240
        while not self.done and time.monotonic() < end:
            try:
                connection, answer = self.request()
            except BROKEN:
                time.sleep(0.05)
                continue
            if answer.status != 200:
                self.error = f"{answer.status}: {answer.read().decode()[:300]}"
                return
            self.connections += 1
            try:
                self.read(answer)
            except BROKEN:
                pass
            connection.close()
            if self.by == "never":
                return

    def read(self, answer):
        block = b""
        for line in answer:
            block += line
            if line.strip():
                continue
            if not block.startswith(b":"):
                self.blocks.append(block)
                self.last = block.split(b"\n", 1)[0].removeprefix(b"id: ").decode()
                self.done = block.endswith(b"data: [DONE]\n\n")
            block = b""

    def texts(self):
        """The text of each choice."""
        texts = {}
        for block in self.blocks:
            for line in block.decode().splitlines():
                if line.startswith("data: {"):
                    event = json.loads(line[6:])
                    expect("error" not in event, f"{self.name}: {line}")
                    for choice in event["choices"]:
                        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        return texts


def is_gone(pid, started):
    known = stat(pid)
    if not known or known[1] != started:
        return True
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def jobs_of(count, tokens):
    jobs = []
    for index in range(count):
        job = dict(prompt=PROMPTS[index % len(PROMPTS)], max_tokens=tokens, temperature=(0, 0.8)[index // 4 % 2],
                   seed=11 + index, ignore_eos=True)
        if index % 7 == 3:
            job["n"] = 2
        if index % 7 == 5:
            job["logprobs"] = 2
        jobs.append(job)
    return jobs


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.02)


def follow_all(url, jobs, ways, tag):
    return [Client(url, job, f"{tag}-{index}", ways[index % len(ways)]) for index, job in enumerate(jobs)]


@check
def controller(options):
    """`serve` killed -9 with 20 streams open, and started again: every client that comes back gets the exact rest."""
    count, rounds = (6, 1) if options.quick else (20, 4)
    jobs = jobs_of(count, 100 if options.quick else 160)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder, "state")
        arguments = (options.binary, options.model, "--stages", 2, "--threads", 1, "--state-dir", folder,
                     "--listen", f"127.0.0.1:{free_port()}")
        server = Server(*arguments)
        try:
            undisturbed = follow_all(server.url, jobs, ["key"], "undisturbed")
            for client in undisturbed:
                client.thread.join()
            wanted = [client.texts() for client in undisturbed]
            for number in range(rounds):
                server.wait_for_replicas()
                workers = {pid: stat(pid)[1] for pid in (
                    w["process_id"] for w in get_json(server.url + "/cluster")["cluster"]["workers"])}
                clients = follow_all(server.url, jobs, ["key", "events", "never", "key", "key"], f"round-{number}")
                after = count * (3 + 20 * number)
                wait_until(lambda: sum(len(c.blocks) for c in clients) >= after, "enough tokens have come")
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
                begun = time.monotonic()
                server.close()
                expect(not [w for w, s in workers.items() if is_gone(w, s)], "a worker has died with the server")
                if number % 2:
                    time.sleep(random.Random(number).uniform(0, 3))
                server = Server(*arguments)
                for client in clients:
                    client.thread.join()
                back = time.monotonic() - begun
                for index, client in enumerate(clients):
                    expect(client.error is None, f"{client.name} was refused: {client.error}")
                    texts = client.texts()
                    if client.by == "never":
                        # What it has is a part of the truth, and it was never told that it was all.
                        whole = client.done or all(wanted[index][c].startswith(t) for c, t in texts.items())
                        expect(whole, f"{client.name} has got another text before the connection broke")
                    else:
                        expect(client.done and texts == wanted[index], f"{client.name} has another text")
                        again = Client(server.url, client.job, client.name, "key")
                        again.thread.join()
                        if "n" not in client.job:
                            expect(again.blocks == client.blocks, f"{client.name}: the pieces are not the whole")
                cluster = get_json(server.url + "/cluster")["cluster"]
                came_back = sum(c.connections > 1 for c in clients)
                expect(cluster["workers_adopted"] == len(workers), f"{cluster['workers_adopted']} workers were adopted")
                expect(set(workers) <= {w["process_id"] for w in cluster["workers"]}, "a worker was replaced")
                expect(cluster["positions_run_again"] == 0, f"{cluster['positions_run_again']} positions run again")
                # What each may have had in flight, and the probabilities that only the dead server knew.
                rows, most = cluster["prompt_rows"], 4 * sum(job.get("n", 1) for job in jobs) + 8
                expect(rows <= most, f"{rows} rows were computed from the start")
                print(f"  round {number}: {cluster['requests_restored']} requests restored, ended ones among them;"
                      f" {came_back} of {count} clients came back, {rows} rows in chunks, all texts there after"
                      f" {back:.1f} s")
            process = server.process
            workers = {pid: stat(pid)[1] for pid in (
                w["process_id"] for w in get_json(server.url + "/cluster")["cluster"]["workers"])}
            process.send_signal(signal.SIGTERM)
            expect(process.wait(timeout=30) == 0, "SIGTERM did not end the server with 0")
            expect(all(is_gone(w, s) for w, s in workers.items()), "a worker was left behind")
            left = sorted(path.name for path in folder.iterdir())
            expect(left == ["lock", "term"], f"the state directory has {left}")
        finally:
            server.close()
    orphans(options)


def orphans(options):
    """Without a server that takes them over, workers end by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        with Server(options.binary, options.model, "--orphan-grace", 2, "--state-dir",
                    pathlib.Path(folder, "state")) as server:
            workers = {pid: stat(pid)[1] for pid in children_of(server.process.pid)}
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            wait_until(lambda: all(is_gone(w, s) for w, s in workers.items()), "the orphans have ended", 30)


@check
def rolling(options):
    """Every worker drained and the server itself restarted under 16 streams: texts equal, nothing computed again."""
    count = 4 if options.quick else 16
    jobs = jobs_of(count, 200 if options.quick else 400)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (options.binary, options.model, "--stages", 2, "--threads", 1, "--context", 1024,
                     "--state-dir", pathlib.Path(folder, "state"), "--listen", f"127.0.0.1:{free_port()}")
        server = Server(*arguments)
        try:
            undisturbed = follow_all(server.url, jobs, ["key"], "undisturbed")
            for client in undisturbed:
                client.thread.join()
            wanted = [client.texts() for client in undisturbed]
            server.wait_for_replicas()
            stop = threading.Event()
            errors, rounds = [], [0]

            def load(index):
                try:
                    while not stop.is_set():
                        rounds[0] += 1
                        client = Client(server_url, jobs[index], f"load-{index}-{rounds[0]}", "key")
                        client.thread.join()
                        expect(client.error is None, f"stream {index} was refused: {client.error}")
                        expect(client.done and client.texts() == wanted[index], f"stream {index} has another text")
                except Exception as error:  # noqa: BLE001
                    errors.append(error)

            server_url = server.url
            threads = [threading.Thread(target=load, args=(index,)) for index in range(count)]
            for thread in threads:
                thread.start()
            try:
                before = {w["name"]: w["process_id"] for w in get_json(server.url + "/cluster")["cluster"]["workers"]}
                for name in sorted(before):
                    drained = subprocess.run(
                        [options.binary, "drain", name, "--url", server.url, "--json", "--timeout", "120"],
                        capture_output=True, text=True, timeout=150)
                    expect(drained.returncode == 0, f"drain {name} ended with {drained.returncode}: {drained.stderr}")
                    expect(json.loads(drained.stdout)["name"] == name, drained.stdout)
                    wait_until(lambda: any(
                        w["name"] == name and w["process_id"] != before[name]
                        for w in get_json(server.url + "/cluster")["cluster"]["workers"]), f"{name} is back")
                    server.wait_for_replicas()
                cluster = get_json(server.url + "/cluster")["cluster"]
                expect(cluster["workers_lost"] == 0 and cluster["positions_run_again"] == 0,
                       f"{cluster['workers_lost']} lost, {cluster['positions_run_again']} positions run again")
                print(f"  {len(before)} workers drained and replaced, {cluster['workers_left']} left in peace")
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
                server.close()
                server = Server(*arguments)
                server.wait_for_replicas()
                cluster = get_json(server.url + "/cluster")["cluster"]
                expect(cluster["workers_adopted"] == len(before), f"{cluster['workers_adopted']} workers adopted")
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            expect(not errors, f"{errors[:1]}")
            cluster = get_json(server.url + "/cluster")["cluster"]
            expect(cluster["positions_run_again"] == 0, f"{cluster['positions_run_again']} positions run again")
            unknown = subprocess.run([options.binary, "drain", "nobody", "--url", server.url],
                                     capture_output=True, text=True, timeout=30)
            expect(unknown.returncode == 1 and "nobody" in unknown.stderr, f"drain nobody: {unknown}")
            print(f"  {rounds[0]} streams, all texts equal")
        finally:
            server.close()
