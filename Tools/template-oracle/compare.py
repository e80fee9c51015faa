"""Renders templates with Python's jinja2 and with ours, and compares.

    compare.py --checker 'dejavu check template' PATH... [--fuzz COUNT] [--seed SEED]

A path is a .jinja file or a directory of them, a .gguf file, or a C++ test of llama.cpp with templates in it.

Every template meets every conversation. Texts must be equal; where jinja2 raises, ours must refuse too. Exits with 1
if anything differs. With --fuzz, random templates are compared as well; the seed names the run.
"""

import argparse
import pathlib
import sys
import warnings

from checker import Checker
from conversations import CONVERSATIONS
from fuzz import Fuzzer
from oracle import render
from sources import templates


def agree(ours, theirs):
    """Equal texts, or errors on both sides. What we say we lack is no agreement."""
    if theirs[0] == "text":
        return ours == theirs
    if theirs[1] == "RecursionError":
        return ours[1] == "resourceExhausted"
    return ours[0] == "error" and ours[1] in ("invalidArgument", "invalidFile")


def compare_templates(checker, paths):
    failures = 0
    total = 0
    sources = [source for path in paths for source in templates(path)]
    for name, source in sources:
        refused = 0
        for number, context in enumerate(CONVERSATIONS):
            theirs = render(source, context)
            ours = checker.render(source, context)
            total += 1
            refused += theirs[0] == "error"
            if not agree(ours, theirs):
                failures += 1
                print(f"{name}, conversation {number}:\n  jinja2: {theirs}\n  ours:   {ours}")
        print(f"{name}: {len(CONVERSATIONS) - refused} rendered, {refused} refused by jinja2")
    print(f"templates: {len(sources)}, renderings: {total}, differences: {failures}")
    return failures


def compare_random(checker, count, seed):
    failures = 0
    rendered = 0
    lacking = 0
    for number in range(count):
        source, context = Fuzzer(f"{seed}/{number}").case()
        theirs = render(source, context)
        ours = checker.render(source, context)
        rendered += theirs[0] == "text"
        if ours[0] == "error" and ours[1] in ("unsupported", "resourceExhausted") or "64 bits" in ours[-1]:
            lacking += 1
        elif theirs[0] == "text" and (" at 0x" in theirs[1].lower() or "cannot be sliced" in ours[-1]):
            # An address; or jinja2 folded a constant, in which a slice that cannot be taken is undefined.
            lacking += 1
        elif not agree(ours, theirs):
            failures += 1
            print(f"seed {seed}/{number}: {source!r}\n  context {context}\n  jinja2: {theirs}\n  ours:   {ours}")
    print(f"random: {count}, rendered: {rendered}, beyond our limits: {lacking}, differences: {failures}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checker", required=True)
    parser.add_argument("--fuzz", type=int, default=0)
    parser.add_argument("--seed", default="1")
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", SyntaxWarning)
    checker = Checker(options.checker)
    failures = compare_templates(checker, options.paths) if options.paths else 0
    failures += compare_random(checker, options.fuzz, options.seed) if options.fuzz else 0
    checker.close()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
