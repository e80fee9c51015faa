#!/usr/bin/env python3
"""Sends a server HTTP that no client should: after each case it must still answer a good request, and well."""
import json
import random
import socket
import struct
import sys
import time

from lib import options
from lib.processes import get, post

GOOD = {"prompt": "Once upon a time", "max_tokens": 3, "temperature": 0, "ignore_eos": True}
PATHS = ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"]
# Statuses that a refusal may have. What breaks HTTP itself may also be answered by closing the connection (None).
REFUSED = {400, 404, 405, 408, 411, 413, 414, 415, 417, 422, 429, 431, 501, 505, None}
NOT_A_CRASH = REFUSED | {200, 401, 403, 503}


class Raw:
    """A bare connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """False if the server has closed already, which is its right."""
        try:
            self.socket.sendall(data if isinstance(data, bytes) else data.encode())
            return True
        except OSError:
            return False

    def reset(self):
        """Goes away with a reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def status(self, timeout=30):
        """The status of the answer, None if the connection is closed without one."""
        self.socket.settimeout(timeout)
        data = b""
        try:
            while b"\r\n" not in data and (piece := self.socket.recv(4096)):
                data += piece
        except ConnectionError:
            pass
        return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/1.") else None


def head(path, length, extra=""):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n{extra}\r\n").encode()


def asked(port, path, body, expected, extra=""):
    """Sends a whole request with this body; the status must be an expected one."""
    body = body if isinstance(body, bytes) else body.encode()
    with Raw(port) as raw:
        raw.send(head(path, len(body), extra) + body)
        status = raw.status()
    assert status in expected, f"{path} answered {status} to {body[:80]!r}"


def raw_case(data, expected=REFUSED, half_close=True):
    def case(port, _):
        with Raw(port) as raw:
            raw.send(data)
            if half_close:
                try:
                    raw.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            status = raw.status()
        assert status in expected, f"answered {status} to {data[:80]!r}"
    return case


def cut_inside_tokens(port, rng):
    whole = json.dumps({**GOOD, "stop": ["é\u2028"], "logit_bias": {"5": -1.5}}, ensure_ascii=False).encode()
    for end in range(len(whole)):
        asked(port, "/v1/completions", whole[:end], REFUSED)


def body_ends_early(port, rng):
    for share in (0, 1, 20):
        with Raw(port) as raw:
            raw.send(head("/v1/completions", 60) + b"{" * share)
            raw.reset() if share else raw.socket.close()


def bad_json(port, rng):
    bodies = ['{"prompt":"a","prompt":"b","max_tokens":1}', '{"prompt":"a","max_tokens":1}{}', "[" * 100000, "nul", "1",
              '{"a":' * 50000, '"' + "x" * 100000 + '"', '{"prompt":"\\ud800"}', '{"prompt":1e999}', "{'prompt':'a'}",
              '{"prompt":"a","max_tokens":99999999999999999999}', '{"prompt":"a","max_tokens":-1}', "NaN", "\ufeff{}",
              '{"prompt":"a","temperature":"hot"}', '{"prompt":[[]]}', '{"prompt":[-1]}', '{"prompt":[999999999]}',
              '{"prompt":"a","n":1000000}', '{"prompt":"a","logit_bias":{"x":1}}', '{"prompt":"a","stop":[1]}',
              '{"prompt":"\x00"}', '{"messages":[]}', '{"messages":[{}]}', '{"messages":{"role":"user"}}', ""]
    for path in PATHS:
        for body in bodies:
            asked(port, path, body, REFUSED)
        for body in (b"\xff\xfe{}", b'{"prompt":"\xc3\x28"}', b'{"prompt":"\xed\xa0\x80"}', bytes(1000)):
            asked(port, path, body, REFUSED)


def mutated_bodies(port, rng):
    seeds = [json.dumps({**GOOD, "logprobs": 2, "stop": "x"}).encode(),
             json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).encode()]
    for _ in range(300):
        body = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(body))
            body[place:place + rng.randint(0, 3)] = bytes(rng.choices(range(256), k=rng.randint(0, 3)))
        asked(port, rng.choice(PATHS[:2]), bytes(body), NOT_A_CRASH)


def giant_headers(port, rng):
    for extra in ("X-Big: " + "a" * 10_000_000 + "\r\n", "".join(f"X-{i}: b\r\n" for i in range(50_000))):
        asked(port, "/v1/completions", json.dumps(GOOD), REFUSED, extra)


def giant_body(port, rng):
    with Raw(port) as raw:
        raw.send(head("/v1/completions", 10**12))
        for _ in range(2000):
            if not raw.send(b"x" * 65536):
                break
        assert raw.status() in REFUSED


def slow_loris(port, rng):
    """Many clients that send a byte now and then must not keep a good one from its answer."""
    slow = [Raw(port) for _ in range(200)]
    try:
        for raw in slow:
            raw.send(b"POST /v1/completions HTTP/1.1\r\nX-Slow: ")
        for _ in range(3):
            time.sleep(0.3)
            for raw in slow:
                raw.send(b"a")
            answers_well(port)
    finally:
        for raw in slow:
            raw.socket.close()


def slow_body(port, rng):
    body = json.dumps(GOOD).encode()
    with Raw(port) as raw:
        raw.send(head("/v1/completions", len(body)))
        for byte in body:
            raw.send(bytes([byte]))
            time.sleep(0.005)
        assert raw.status() == 200


def slow_reader(port, rng):
    """A client that never reads its stream harms nobody."""
    body = json.dumps({**GOOD, "max_tokens": 400, "stream": True, "n": 4}).encode()
    with Raw(port) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        raw.send(head("/v1/completions", len(body)) + body)
        time.sleep(2)
        answers_well(port)


def disconnects_in_queue(port, rng):
    body = json.dumps({**GOOD, "max_tokens": 300, "stream": True}).encode()
    waiting = [Raw(port) for _ in range(100)]
    for raw in waiting:
        raw.send(head("/v1/completions", len(body)) + body)
    time.sleep(0.5)
    rng.shuffle(waiting)
    for index, raw in enumerate(waiting):
        raw.reset() if index % 2 else raw.socket.close()


def pipelined(port, rng):
    body = json.dumps(GOOD).encode()
    with Raw(port) as raw:
        raw.send((head("/v1/completions", len(body)) + body) * 50)
        assert raw.status() in {200, 429, 503, None}


def chunked(port, rng):
    start = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"zz\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n\r\n", b"5\r\nab", b"1\r\n{\r\n" * 1000 + b"0\r\n\r\n"):
        raw_case(start + rest)(port, rng)


GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
CASES = {
    "bodies cut inside tokens": cut_inside_tokens,
    "bodies that end early": body_ends_early,
    "bad JSON": bad_json,
    "mutated bodies": mutated_bodies,
    "giant headers": giant_headers,
    "giant body": giant_body,
    "slow loris": slow_loris,
    "slow body": slow_body,
    "slow reader": slow_reader,
    "disconnects in the queue": disconnects_in_queue,
    "pipelined requests": pipelined,
    "chunked bodies": chunked,
    "no HTTP at all": raw_case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)),
    "random bytes": lambda port, rng: [raw_case(rng.randbytes(rng.randint(1, 5000)))(port, rng) for _ in range(50)],
    "endless request line": raw_case(b"GET /" + b"a" * 5_000_000 + b" HTTP/1.1\r\n\r\n"),
    "bad version": raw_case(b"GET / HTTP/9.9\r\n\r\n"),
    "two lengths": raw_case(head("/v1/completions", 2, "Content-Length: 3\r\n") + b"{}"),
    "length and chunks": raw_case(head("/v1/completions", 2, "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n"),
    "negative length": raw_case(head("/v1/completions", -1)),
    "header without name": raw_case(GET + b": x\r\n\r\n"),
    "line feed in a value": raw_case(GET + b"X: a\n b\r\n\r\n", REFUSED | {200}),
    "expect continue": raw_case(head("/v1/completions", 2, "Expect: 100-continue\r\n") + b"{}", REFUSED | {100}),
    "wrong method": raw_case(b"DELETE /v1/completions HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path games": raw_case(b"GET /../../etc/passwd%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
}


def answers_well(port):
    answer = post(f"http://127.0.0.1:{port}/v1/completions", GOOD)
    assert answer["usage"]["completion_tokens"] == 3, answer
    return answer["choices"][0]["text"]


def main():
    parser = options.parser(__doc__, "Tools/verify-fuzz-http.py --seed 7 --only 'slow loris'")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    given = parser.parse_args()
    failures = 0
    with options.our_server(given, "--threads", "1") as server:
        expected = answers_well(server.port)
        for name in given.only:
            problem, start = None, time.monotonic()
            try:
                CASES[name](server.port, random.Random(given.seed))
                text = answers_well(server.port)
                assert text == expected, f"a good request now gives {text!r} instead of {expected!r}"
                get(server.url + given.ready_path)
            except (AssertionError, OSError, ValueError, KeyError) as error:
                problem = f"{type(error).__name__}: {error}"
            if not server.is_alive():
                problem = "the server ended"
            failures += problem is not None
            took = f"{time.monotonic() - start:.1f} s"
            print(f"FAIL {name} ({took}): {problem}" if problem else f"ok   {name} ({took})", flush=True)
            if not server.is_alive():
                break
    print(f"{len(given.only)} cases, {failures} failed, seed {given.seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
