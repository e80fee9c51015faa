"""A client that loses its connection again and again and takes its stream up where it was."""
import http.client
import json
import socket
import struct
import time
import urllib.parse


def follow(url, job, key, cuts=0, rng=None, on_cut=None, seconds=120):
    """The events of a streamed completion, each with its id as it was sent.

    After `cuts` of them, at random places, the connection is reset. `on_cut` hears how often that was so far.
    """
    body = json.dumps(dict(job, stream=True)).encode()
    address = urllib.parse.urlsplit(url).netloc
    blocks, last, cut, end = [], None, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        headers = {"content-type": "application/json", "idempotency-key": key}
        if last:
            headers["last-event-id"] = last
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("POST", "/v1/completions", body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {answer.read().decode()[:300]}")
        left = rng.randint(1, 25) if cut < cuts else None
        block = b""
        for line in answer:
            block += line
            if line.strip():
                continue
            if not block.startswith(b":"):
                blocks.append(block)
                last = block.split(b"\n", 1)[0].removeprefix(b"id: ").decode()
                if left is not None:
                    left -= 1
            done = block.endswith(b"data: [DONE]\n\n")
            block = b""
            if done:
                connection.close()
                return blocks
            if left == 0:
                break
        cut += 1
        # A reset, as of a network that is gone, and not a goodbye.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        if cut > cuts + 20:
            raise AssertionError("the stream ended before its end, again and again")
        if on_cut:
            on_cut(cut)
    raise AssertionError("the stream did not end in time")
