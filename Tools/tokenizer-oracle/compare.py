#!/usr/bin/env python3
"""Compares our tokenizer with llama.cpp's on random and adversarial texts; prints the first differences.

  compare.py MODEL --oracle "./oracle MODEL" --ours "dejavu check tokenizer --model MODEL" [--count 10000] [--seed 1]
  compare.py MODEL --expected FILE --ours "dejavu check tokenizer --model MODEL"    a fixture in place of the oracle
  compare.py MODEL --oracle "./oracle MODEL" --golden FILE --count 300     writes a fixture instead

Build the oracle as oracle.c says. Exit code 1 if anything differs.
"""

import argparse
import shlex
import subprocess
import sys

from cases import Cases


def ask(command, questions):
    """All answers of a program, in order. It is a new process each time, so that one that dies names its question."""
    done = subprocess.run(shlex.split(command), input="\n".join(questions) + "\n", capture_output=True, text=True)
    answers = done.stdout.splitlines()
    if len(answers) != len(questions):
        sys.exit(
            f"{command}: ended ({done.returncode}) at question {len(answers)}: {questions[len(answers)][:200]}\n"
            + done.stderr[-500:]
        )
    return answers


def vocabulary(command):
    """Texts of the special tokens, and of all."""
    size = int(ask(command, ["size"])[0])
    answers = ask(command, [f"token {token}" for token in range(size)])
    texts = [bytes.fromhex(a.split()[0].replace("-", "")).decode("utf-8", "surrogateescape") for a in answers]
    return [t for t, a in zip(texts, answers) if a.split()[1] == "c" and t], [t for t in texts if t], answers


def questions(arguments, specials, tokens):
    cases = Cases(arguments.seed, specials, tokens, arguments.run_max)
    for _ in range(arguments.count):
        text = cases.text().hex()
        for flags in ("-", "s"):
            yield f"encode {flags} {text}"
    yield "encode sa 48656c6c6f"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--oracle")
    parser.add_argument("--expected")
    parser.add_argument("--ours")
    parser.add_argument("--golden")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-max", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.expected:
        with open(arguments.expected) as file:
            pairs = [line.rstrip("\n").split(" = ", 1) for line in file]
        asked, expected = zip(*pairs)
        return report(arguments.model, len(asked), different(asked, expected, ask(arguments.ours, asked)))
    if not arguments.oracle:
        parser.error("--oracle or --expected says what is right")

    specials, tokens, described = vocabulary(arguments.oracle)
    asked = list(questions(arguments, specials, tokens))
    expected = ask(arguments.oracle, asked)
    if arguments.golden:
        with open(arguments.golden, "w") as file:
            for question, answer in zip(asked, expected):
                file.write(f"{question} = {answer}\n")
        return 0
    ours_described = vocabulary(arguments.ours)[2]
    # For a character outside of the byte alphabet llama.cpp writes "[UNK_BYTE_"; ours writes the character.
    differing = [
        (f"token {i}", a, b)
        for i, (a, b) in enumerate(zip(described, ours_described))
        if a != b and not a.startswith(b"[UNK_BYTE_".hex())
    ]
    differing += different(asked, expected, ask(arguments.ours, asked))
    return report(arguments.model, len(asked) + len(described), differing)


def different(asked, expected, found):
    return [(q, a, b) for q, a, b in zip(asked, expected, found) if a != b]


def report(model, compared, differing):
    """Prints the first differences; the exit status."""
    for question, theirs, mine in differing[:5]:
        print(f"{question[:400]}\n  llama.cpp {theirs[:400]}\n  ours      {mine[:400]}")
    print(f"{model.split('/')[-1]}: {compared - len(differing)} passed, {len(differing)} failed")
    return 1 if differing or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
