"""The register of verifications, and what they share."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):",
    "Water boils at",
]
CHECKS = {}


def check(function):
    """Registers a verification under its function's name."""
    CHECKS[function.__name__.replace("_", "-")] = function
    return function


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def tool(name, *arguments):
    """Runs one of the other tools."""
    subprocess.run([sys.executable, str(ROOT / "Tools" / name), *map(str, arguments)], check=True)
