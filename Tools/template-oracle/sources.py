"""Finds templates: in .jinja files, in the metadata of .gguf files, and in the strings of a C++ test."""

import ast
import mmap
import re
import struct

# GGUF's value types: the sizes of the fixed ones; 8 is a string, 9 an array.
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
CPP_TEMPLATE = re.compile(r'/\* \.template_str=? ?\*/\s*(?:U8C\()?((?:u8)?"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*)')


def templates(path):
    """Pairs of a name and a source."""
    if path.is_dir():
        for file in sorted(path.glob("*.jinja")):
            yield file.name, file.read_text(encoding="utf-8")
    elif path.suffix == ".gguf":
        yield path.name, gguf_template(path)
    elif path.suffix == ".cpp":
        for number, match in enumerate(CPP_TEMPLATE.finditer(path.read_text(encoding="utf-8"))):
            literal = match.group(1).removeprefix("u8")
            yield f"{path.name} {number}", ast.literal_eval("(" + literal.replace("\\?", "?") + ")")
    else:
        yield path.name, path.read_text(encoding="utf-8")


def gguf_template(path):
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = 24

        def number(format):
            nonlocal position
            position += struct.calcsize(format)
            return struct.unpack_from(format, data, position - struct.calcsize(format))[0]

        def string():
            nonlocal position
            length = number("<Q")
            position += length
            return data[position - length : position].decode("utf-8")

        def skip(kind):
            nonlocal position
            if kind == 8:
                string()
            elif kind == 9:
                inner, count = number("<I"), number("<Q")
                for _ in range(count):
                    skip(inner)
            else:
                position += SIZES[kind]

        for _ in range(struct.unpack_from("<Q", data, 16)[0]):
            key, kind = string(), number("<I")
            if key == "tokenizer.chat_template":
                return string()
            skip(kind)
    raise SystemExit(f"{path}: no chat template")
