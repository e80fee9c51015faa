"""Asks llama.cpp for the logits that the engine's golden tests expect.

    mkdir /tmp/golden && DEJAVU_GOLDEN_DIRECTORY=/tmp/golden swift test --filter models_onDemand
    python3 Tools/make-golden.py ./llama-oracle /tmp/golden > Tests/DejaVuModelTests/Fixtures/golden-logits.json

Tools/llama-oracle.c says how to build the oracle.
"""
import json
import pathlib
import subprocess
import sys

oracle, directory = sys.argv[1], pathlib.Path(sys.argv[2])
prompts = (directory / "prompts.txt").read_bytes()
result = {}
for model in sorted(directory.glob("*.gguf")):
    lines = subprocess.run([oracle, model, "logits"], input=prompts, stdout=subprocess.PIPE, check=True).stdout
    result[model.stem] = [json.loads(line) for line in lines.splitlines()]
json.dump(result, sys.stdout, separators=(",", ":"), sort_keys=True)
print()
