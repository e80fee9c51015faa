"""Clients that stream completions and note when each token came."""
import http.client
import json
import socket
import threading
import time
import urllib.parse


class Stream:
    """One streamed completion in a thread of its own. `times` grows with each piece of text."""

    def __init__(self, url, body):
        self.body = dict(body, stream=True)
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=600)
        self.times, self.text, self.error = [], "", None
        self.is_stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.connection.request("POST", "/v1/completions", json.dumps(self.body),
                                    {"content-type": "application/json"})
            answer = self.connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.read().decode()[:300]}")
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise RuntimeError(event["error"])
                self.text += "".join(choice["text"] for choice in event["choices"])
                self.times.append(time.monotonic())
        except Exception as error:  # told by whoever waits for it
            if not self.is_stopped:
                self.error = error
        finally:
            self.connection.close()

    def stop(self):
        """Leaves."""
        self.is_stopped = True
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)

    def result(self):
        self.thread.join()
        if self.error:
            raise RuntimeError(f"a stream broke: {self.error}")
        return self.text

    def pause_after(self, moment):
        """The longest time without a token from that moment on; None if the stream did not run then."""
        if not self.times or not self.times[0] < moment < self.times[-1]:
            return None
        return max(after - max(before, moment) for before, after in zip(self.times, self.times[1:]) if after > moment)


def until(condition, seconds=120, what="it"):
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come to pass in {seconds} s")
        time.sleep(0.02)
