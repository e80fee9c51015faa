#!/usr/bin/env python3
"""Writes the fixtures of the tokenizer's tests, with llama.cpp's answers.

  golden.py --oracle ./oracle --model SmolLM2-135M-Instruct.Q4_1.gguf

Three files: the real model's tokenizer; a small byte-level vocabulary under each pre-tokenizer, whose merges cross
every border that pre-tokenizers draw; a small SentencePiece vocabulary. The small ones stand in the fixtures.
"""

import argparse
import collections
import pathlib
import struct
import tempfile

from cases import Cases
from compare import ask, vocabulary

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "Tests/DejaVuTokenizerTests/Fixtures"
PRE_TOKENIZERS = [
    "default",
    "gpt-2",
    "smollm",
    "llama-bpe",
    "qwen2",
    "qwen35",
    "tekken",
    "gpt-4o",
    "falcon",
    "deepseek-coder",
]
SPECIALS = [("<|im_start|>", 3), ("<|im_end|>", 3), ("<|user|>", 4)]
# What the pre-tokenizers treat differently, for the training and for the questions.
BORDERS = [
    "12345",
    " 12345",
    "١٢٣٤٥",
    "²³¹",
    "don't",
    "DON'T we'LL",
    "camelCaseWORDSlow",
    "StraßeABCÜber",
    "éé é",
    " ́́",
    "你好ab",
    "x,y,,z",
    "a+b<=c",
    "``` `x`",
    "!!\n\n",
    "///\n//",
    "\n\n  \n x",
    "\t\tx",
    "  y",
    "　　z",
    "_foo_bar",
    " 'sx",
    "1a2b",
    " ``",
    " \u0661\u0662",
    "--\n",
    "(foo(bar",
    "$9.99",
    "#\r\n#",
]
STRING, ARRAY, FLOAT, INTEGER = 8, 9, 6, 5


def string(data):
    return struct.pack("<Q", len(data)) + data


def gguf(entries):
    """A file of metadata alone; values are (type, encoded)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    return head + b"".join(
        string(key.encode()) + struct.pack("<I", kind) + value for key, (kind, value) in entries.items()
    )


def array(kind, items):
    return ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items)


def train(texts, count):
    """Merges of the most frequent neighbours. Texts are lists of symbols, which are joined in place."""
    merges = []
    for _ in range(count):
        pairs = collections.Counter(pair for text in texts for pair in zip(text, text[1:]))
        pair = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(pair)
        for text in texts:
            i = 0
            while i + 1 < len(text):
                if (text[i], text[i + 1]) == pair:
                    text[i : i + 2] = [text[i] + text[i + 1]]
                i += 1
    return merges


def corpus():
    cases = Cases(77, run_max=6)
    random = [cases.text().decode("utf-8", "ignore") for _ in range(1000)]
    return [t for t in random if "\0" not in t] + BORDERS * 60


def spelling():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def made_by(merges):
    """What merges arrive at, without the texts of special tokens, which are in the vocabulary anyway."""
    special = {"<unk>", "<s>", "</s>", *(text for text, _ in SPECIALS)}
    return [text for text in dict.fromkeys(a + b for a, b in merges) if text not in special]


def byte_pairs():
    spell = spelling()
    merges = train([[spell[b] for b in t.encode()] for t in corpus()], 400)
    tokens = [(spell[b], 1) for b in range(256)] + [(t, 1) for t in made_by(merges)] + SPECIALS
    return {
        "model": "gpt2",
        "tokens": [(t.encode(), kind, 0.0) for t, kind in tokens],
        "merges": [f"{a} {b}".encode() for a, b in merges],
    }


def sentence_pieces():
    texts = [list(t.replace(" ", "\u2581")) for t in corpus()]
    frequent = [c for c, n in collections.Counter(c for t in texts for c in t).items() if n > 20 and c > " "]
    merges = train(texts, 400)
    tokens = [
        (b"<unk>", 2, 0.0),
        (b"<s>", 3, 0.0),
        (b"</s>", 3, 0.0),
        *((b"<0x%02X>" % b, 6, 0.0) for b in range(256)),
    ]
    made = [t for t in made_by(merges) if "\n" not in t]
    tokens += [
        (t.encode(), 1, -float(i // 2)) for i, t in enumerate([*made, *(c for c in frequent if c not in made)])
    ]
    return {"model": "llama", "tokens": tokens + [(t.encode(), kind, 0.0) for t, kind in SPECIALS], "merges": []}


def file_of(vocabulary, pre):
    tokens, kinds, scores = zip(*vocabulary["tokens"])
    entries = {
        "general.architecture": (STRING, string(b"llama")),
        "tokenizer.ggml.model": (STRING, string(vocabulary["model"].encode())),
        "tokenizer.ggml.tokens": array(STRING, [string(t) for t in tokens]),
        "tokenizer.ggml.token_type": array(INTEGER, [struct.pack("<i", k) for k in kinds]),
        "tokenizer.ggml.scores": array(FLOAT, [struct.pack("<f", s) for s in scores]),
    }
    if pre:
        entries["tokenizer.ggml.pre"] = (STRING, string(pre.encode()))
        entries["tokenizer.ggml.merges"] = array(STRING, [string(m) for m in vocabulary["merges"]])
    return gguf(entries)


def questions(cases, count, borders=()):
    for text in borders:
        yield f"encode - {text.encode().hex()}"
    for _ in range(count):
        text = cases.text().hex()
        yield f"encode - {text}"
        yield f"encode s {text}"
    yield "encode sa 48656c6c6f2c20776f726c6421"


def answered(command, asked):
    return [f"{question} = {answer}" for question, answer in zip(asked, ask(command, asked))]


def small(arguments, vocabulary, pres, count):
    lines = [f"model {vocabulary['model']}"]
    lines += [f"token {text.hex()} {kind} {score:g}" for text, kind, score in vocabulary["tokens"]]
    lines += [f"merge {merge.hex()}" for merge in vocabulary["merges"]]
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        for number, pre in enumerate(pres):
            pathlib.Path(file.name).write_bytes(file_of(vocabulary, pre))
            lines += [f"pre {pre}"] if pre else []
            cases = Cases(number, [t for t, _ in SPECIALS], run_max=12)
            lines += answered(f"{arguments.oracle} {file.name}", list(questions(cases, count, BORDERS)))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    real = f"{arguments.oracle} {arguments.model}"
    specials, tokens, _ = vocabulary(real)
    written = {
        "smollm2": answered(real, list(questions(Cases(5, specials, tokens, run_max=24), 130))),
        "byte-pairs": small(arguments, byte_pairs(), PRE_TOKENIZERS, 12),
        "sentence-pieces": small(arguments, sentence_pieces(), [None], 60),
    }
    for name, lines in written.items():
        path = FIXTURES / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n")
        print(path.name, len(lines), "lines,", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
