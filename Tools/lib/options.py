"""Flags that all comparing tools have."""
import argparse
import pathlib
import shlex

from lib.processes import Server
from lib.results import ROOT


def parser(description, example):
    made = argparse.ArgumentParser(description=description, epilog=f"Example: {example}",
                                   formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--dejavu", default=str(ROOT / ".build/release/dejavu"), help="our program, may have arguments")
    made.add_argument("--model", default=str(ROOT / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    made.add_argument("--serve-arguments", default="", help="more arguments for `dejavu serve`")
    made.add_argument("--serve-command", default=None,
                      help="another server in place of `dejavu serve`; {port} and {model} are filled in")
    made.add_argument("--ready-path", default="/ready", help="where our server says that it is ready")
    made.add_argument("--out", default=None, help="folder for results; docs/bench if not given")
    return made


def add_llama(made):
    made.add_argument("--llama", default=str(ROOT / ".deps/llama.cpp/bin"),
                      help="folder of llama.cpp's programs, as Tools/build-llama-cpp.sh makes it")
    made.add_argument("--threads", type=int, default=1, help="compute threads on both sides")
    made.add_argument("--pairs", type=int, default=5, help="interleaved measurements of each side")


def llama_version(options):
    file = pathlib.Path(options.llama).parent / "ggml-version"
    return "ggml " + file.read_text().strip() if file.exists() else "unknown"


def our_server(options, *arguments):
    """`dejavu serve`, or what --serve-command says; not yet started."""
    if options.serve_command:
        command = shlex.split(options.serve_command.replace("{model}", options.model))
    else:
        command = [*shlex.split(options.dejavu), "serve", options.model, "--listen", "127.0.0.1:{port}", *arguments,
                   *shlex.split(options.serve_arguments)]
    return Server(command, options.ready_path)
