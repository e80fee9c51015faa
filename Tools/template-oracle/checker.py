"""Talks to the Swift interpreter: one line of JSON per rendering."""

import json
import shlex
import subprocess

from oracle import NOW


class Checker:
    def __init__(self, command):
        self.process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def render(self, source, context, now=NOW):
        """("text", rendered) or ("error", code, message)."""
        request = {"source": source, "context": context, "now": list(now)}
        self.process.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the checker died on {source!r} with {context!r}")
        answer = json.loads(line)
        if "error" in answer:
            return ("error", answer["code"], answer["error"])
        return ("text", "".join(text for text, _ in answer["pieces"]))

    def close(self):
        self.process.stdin.close()
        self.process.wait()
