"""Writes Tests/DejaVuTemplateTests/Fixtures/cases.jsonl: templates and what jinja2 makes of them.

The first line holds the context that the cases share. Run it again after adding to cases.txt or *.jinja.
"""

import json
import pathlib
import re
import warnings

from conversations import CONVERSATIONS
from fuzz import CONTEXT, Fuzzer
from oracle import NOW, render

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parent.parent / "Tests" / "DejaVuTemplateTests" / "Fixtures"
RANDOM_CASES = 300


def written_cases():
    for line in (HERE / "cases.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("# "):
            escapes = {"\\n": "\n", "\\r": "\r", "\\\\": "\\"}
            yield re.sub(r"\\n|\\r|\\\\", lambda match: escapes[match.group()], line)


def random_cases():
    """Short ones that render and do not print an address."""
    found = 0
    number = 0
    while found < RANDOM_CASES:
        source, _ = Fuzzer(f"fixtures/{number}").case()
        number += 1
        result = render(source, CONTEXT)
        if len(source) < 200 and result[0] == "text" and " at 0x" not in result[1].lower():
            found += 1
            yield source


def case(source, result, **more):
    assert " at 0x" not in result[1], f"prints an address: {source}"
    answer = {"text": result[1]} if result[0] == "text" else {"error": result[1]}
    return json.dumps({"source": source, **more, **answer}, ensure_ascii=False)


def main():
    warnings.simplefilter("ignore", SyntaxWarning)
    lines = [json.dumps({"context": CONTEXT, "now": NOW}, ensure_ascii=False)]
    for source in [*written_cases(), *random_cases()]:
        lines.append(case(source, render(source, CONTEXT)))
    for path in sorted(FIXTURES.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for context in CONVERSATIONS:
            lines.append(case(source, render(source, context), context=context))
    (FIXTURES / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
