#!/usr/bin/env python3
"""Compares greedy texts and their logits with llama.cpp's: five prompts of 5 to 1500 tokens, 200 tokens each.

    verify-tokens.py --dejavu B --model M                   with llama.cpp, which is built if it is not there
    verify-tokens.py --dejavu B --model M --quick           with what llama.cpp once said (Tools/golden-tokens.json)
    verify-tokens.py --dejavu B --model M --golden FILE     as the first, and writes that file

1. Reference kernels: the served tokens are llama.cpp's, in 1, 2, 3 and 5 stages, alone and in a batch; the logits too,
   bit by bit.
2. Native kernels: the served tokens do not depend on stages and company. Led along llama.cpp's texts, they prefer
   another token only where llama.cpp's first two are nearer to each other than the noise bound. The bound is measured
   in the same run: how far the gap between these two moves between two paths of llama.cpp itself, one row at a time
   without flash attention and repacked weights, and as it comes. docs/decisions/0005 says why.
"""
import array
import concurrent.futures
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

from lib import llama, options
from lib.client import post
from lib.results import ROOT
from lib.server import Server

COUNT, COUNT_QUICK = 200, 40
LENGTHS, LENGTHS_QUICK = [5, 40, 200, 700, 1500], 3
GOLDEN = ROOT / "Tools" / "golden-tokens.json"
SENTENCE = "The capital of France is"


class Vocabulary:
    """The tokenizer of the program under test."""

    def __init__(self, given):
        self.command = [given.dejavu, "check", "tokenizer", "--model", given.model]
        self.size = int(self.ask(["size"])[0])
        self.names = [self.name(answer.split()[0]) for answer in self.ask([f"token {t}" for t in range(self.size)])]

    def ask(self, questions):
        done = subprocess.run(self.command, input="\n".join(questions) + "\n", capture_output=True, text=True,
                              check=True)
        return done.stdout.splitlines()

    def encode(self, text):
        return [int(token) for token in self.ask([f"encode - {text.encode().hex()}"])[0].split()]

    @staticmethod
    def name(hexadecimal):
        """How the API spells a token in `logprobs`."""
        data = bytes.fromhex(hexadecimal.replace("-", ""))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    def spelled(self, tokens):
        return [self.names[token] for token in tokens]

    def check_unique(self, tokens):
        """That tokens cannot be taken for others by their names."""
        for token in set(tokens):
            expect(self.names.count(self.names[token]) == 1, f"token {token} shares its name with another")


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def make_prompts(vocabulary):
    """A sentence, then by turns random tokens, which leave a model unsure, and parts of a long text."""
    rng, prose = random.Random(23), vocabulary.encode((ROOT / "LICENSE").read_text())
    sentence = vocabulary.encode(SENTENCE)
    expect(len(sentence) == LENGTHS[0] and len(prose) >= max(LENGTHS), "the prompts are not as long as they should be")
    made = [sentence]
    for number, length in enumerate(LENGTHS[1:]):
        noise = sentence + [rng.randrange(300, 20_000) for _ in range(length - len(sentence))]
        made.append(noise if number % 2 == 0 else prose[:length])
    return made


def lines(texts):
    return "".join(" ".join(map(str, text)) + "\n" for text in texts)


def logits(given, kernels, prompts, expected, sink):
    texts = [[len(prompt), *prompt, *tokens] for prompt, tokens in zip(prompts, expected)]
    subprocess.run([given.dejavu, "check", "logits", "--model", given.model, "--kernels", kernels],
                   input=lines(texts).encode(), stdout=sink, check=True)


# Served tokens


def served(url, prompt, count):
    body = dict(prompt=prompt, max_tokens=count, temperature=0, ignore_eos=True, logprobs=1)
    with post(url + "/v1/completions", body, timeout=600) as answer:
        choice = json.load(answer)["choices"][0]
    expect(len(choice["logprobs"]["tokens"]) == count, f"{len(choice['logprobs']['tokens'])} of {count} tokens came")
    return choice["logprobs"]["tokens"]


def serve(given, kernels, stages, prompts, count):
    """The names of the tokens of all prompts, one by one and together."""
    with Server(given.dejavu, given.model, "--stages", stages, "--threads", 1, "--standbys", 0, "--kernels",
                kernels) as server:
        alone = [served(server.url, prompt, count) for prompt in prompts]
        with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
            together = list(pool.map(lambda prompt: served(server.url, prompt, count), prompts))
    return alone, together


def agree(found, wanted, gaps, bound):
    """Equal up to a place where llama.cpp itself was unsure, behind which texts part for good."""
    for number, (ours, theirs) in enumerate(zip(found, wanted)):
        if ours != theirs:
            return gaps[number] < bound
    return True


def check_served(given, kernels, stage_counts, golden, vocabulary):
    wanted = [vocabulary.spelled(tokens) for tokens in golden["tokens"]]
    count, first = len(wanted[0]), None
    for stages in stage_counts:
        alone, together = serve(given, kernels, stages, golden["prompts"], count)
        first = first or alone
        for which, texts in (("alone", alone), ("together", together)):
            name = f"{kernels} kernels, {stages} stages, {which}"
            expect(texts == first, f"{name}: not the tokens of one stage alone")
            if kernels == "reference" and not given.quick:
                expect(texts == wanted, f"{name}: not llama.cpp's tokens")
            for text, tokens, gaps in zip(texts, wanted, golden["gaps"]):
                expect(agree(text, tokens, gaps, golden["bound"]), f"{name}: parts from llama.cpp where it is sure")
    shared = [next((n for n, (a, b) in enumerate(zip(*pair)) if a != b), count) for pair in zip(first, wanted)]
    print(f"{kernels} kernels: the same {count} tokens for {len(wanted)} prompts in {stage_counts} stages, alone and "
          f"together; equal to llama.cpp's for the first {shared}", flush=True)


# Led along llama.cpp's texts


def compare(given, prompts, expected, kernel_sets):
    """For each position llama.cpp's own choice and gap, and for each path (choice, change of the gap, distance)."""
    oracle = llama.oracle("llama-oracle.c")
    texts = [[len(prompt), *prompt, *tokens] for prompt, tokens in zip(prompts, expected)]
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, kernels) for kernels in kernel_sets]
        for kernels, file in zip(kernel_sets, files):
            with file.open("wb") as sink:
                logits(given, kernels, prompts, expected, sink)
        done = subprocess.run([oracle, given.model, "compare", *files], input=lines(texts), stdout=subprocess.PIPE,
                              text=True, check=True)
    rows = []
    for line in done.stdout.splitlines():
        best, gap, *rest = line.split()
        paths = [(int(rest[i]), float(rest[i + 1]), float(rest[i + 2])) for i in range(0, len(rest), 3)]
        rows.append((int(best), float(gap), paths))
    expect(len(rows) == sum(map(len, expected)), f"llama.cpp answered {len(rows)} positions")
    return rows


def print_table(rows, names):
    print("| against llama.cpp, one row at a time | positions | other token | its largest gap | gap moves by, median "
          "and most | logits move by, median and most |\n|---|---|---|---|---|---|")
    for number, name in enumerate(names):
        gaps = [gap for best, gap, paths in rows if paths[number][0] != best]
        moves, distances = ([row[2][number][figure] for row in rows] for figure in (1, 2))
        print(f"| {name} | {len(rows)} | {len(gaps)} | {max(gaps, default=0):.3g} | {statistics.median(moves):.3g}, "
              f"{max(moves):.3g} | {statistics.median(distances):.3g}, {max(distances):.3g} |", flush=True)


def with_llama(given, vocabulary):
    """Asks llama.cpp and checks the logits; what the served tokens are to be checked against."""
    prompts = make_prompts(vocabulary)
    done = subprocess.run([llama.oracle("llama-oracle.c"), given.model, "greedy", str(COUNT)], input=lines(prompts),
                          stdout=subprocess.PIPE, text=True, check=True)
    expected = [[int(token) for token in line.split()] for line in done.stdout.splitlines()]
    expect([len(tokens) for tokens in expected] == [COUNT] * len(prompts), "llama.cpp's answer is incomplete")
    rows = compare(given, prompts, expected, ["reference", "native"])
    expect([row[0] for row in rows] == [token for tokens in expected for token in tokens],
           "llama.cpp itself does not repeat its tokens")
    print_table(rows, ["llama.cpp as it comes", "reference kernels", "native kernels"])
    bound = max(paths[0][1] for _, _, paths in rows)
    print(f"noise bound: {bound:.4g}, the farthest that the gap of the first two moves inside llama.cpp")
    expect(all(paths[1][2] == 0 for _, _, paths in rows), "the reference kernels' logits are not llama.cpp's")
    for best, gap, paths in rows:
        expect(paths[2][0] == best or gap < bound,
               f"native kernels prefer {paths[2][0]} to {best}, which llama.cpp has {gap:.3g} ahead")
    gaps = [gap for _, gap, _ in rows]
    return {"bound": bound, "prompts": prompts, "tokens": expected,
            "gaps": [gaps[at:at + COUNT] for at in range(0, len(gaps), COUNT)]}


def with_golden(given, vocabulary):
    """Checks which tokens both sets of kernels prefer against the committed answers."""
    golden = json.loads(GOLDEN.read_text())
    for kernels in ("reference", "native"):
        with tempfile.TemporaryFile() as file:
            logits(given, kernels, golden["prompts"], golden["tokens"], file)
            file.seek(0)
            differing = []
            for tokens, gaps in zip(golden["tokens"], golden["gaps"]):
                for token, gap in zip(tokens, gaps):
                    row = array.array("f", file.read(4 * vocabulary.size))
                    if (found := row.index(max(row))) != token:
                        expect(gap < golden["bound"], f"{kernels} kernels prefer {found} to {token}, {gap:.3g} ahead")
                        differing.append(gap)
            expect(not file.read(1), "more logits than asked for")
        total = sum(map(len, golden["tokens"]))
        print(f"{kernels} kernels: another token than llama.cpp's at {len(differing)} of {total} positions, largest "
              f"gap {max(differing, default=0):.3g}, noise bound {golden['bound']:.3g}", flush=True)
    return golden


def write_golden(path, golden):
    cut = {key: value[:LENGTHS_QUICK] for key, value in golden.items() if key != "bound"}
    cut["tokens"] = [tokens[:COUNT_QUICK] for tokens in cut["tokens"]]
    cut["gaps"] = [[round(gap, 4) for gap in gaps[:COUNT_QUICK]] for gaps in cut["gaps"]]
    pathlib.Path(path).write_text(json.dumps({"bound": round(golden["bound"], 4), **cut}) + "\n")


def main():
    parser = options.parser(__doc__, "Tools/verify-tokens.py --quick")
    parser.add_argument("--quick", action="store_true", help="compare with the committed answers")
    parser.add_argument("--golden", help="write the answers to this file")
    given = parser.parse_args()
    vocabulary = Vocabulary(given)
    golden = (with_golden if given.quick else with_llama)(given, vocabulary)
    if given.golden:
        write_golden(given.golden, golden)
    vocabulary.check_unique(token for tokens in golden["tokens"] for token in tokens)
    for kernels in ("reference", "native"):
        check_served(given, kernels, [1, 3] if given.quick else [1, 2, 3, 5], golden, vocabulary)


if __name__ == "__main__":
    sys.exit(main())
