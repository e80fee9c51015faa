#!/usr/bin/env python3
"""Writes Sources/DejaVuTokenizer/CharacterClassTable.swift.

Tokenizers of the llama family were made with llama.cpp's tables, which are Unicode 15.1. Neither Swift's nor Python's
own tables promise that version, so this takes it from PyPI:  pip install unicodedata2==15.1.0
"""

import pathlib

import unicodedata2 as unicodedata

assert unicodedata.unidata_version == "15.1.0", unicodedata.unidata_version
WHITESPACE = {
    9,
    10,
    11,
    12,
    13,
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
}
CLASSES = {"L": 1, "N": 2, "P": 4, "M": 5, "S": 6}  # 0: anything else, 3: whitespace


def character_class(code):
    if code in WHITESPACE:
        return 3
    return CLASSES.get(unicodedata.category(chr(code))[0], 0)


ranges = []
for code in range(0x110000):
    found = character_class(code)
    if not ranges or ranges[-1] & 7 != found:
        ranges.append(code << 3 | found)

lines, line = [], "       "
for entry in ranges:
    item = f" {entry:#x},"
    if len(line) + len(item) > 118:
        lines.append(line)
        line = "       "
    line += item
lines.append(line)
path = pathlib.Path(__file__).resolve().parents[2] / "Sources/DejaVuTokenizer/CharacterClassTable.swift"
path.write_text(
    "// Written by Tools/unicode-table/generate.py; do not edit.\n\n"
    "extension CharacterClass {\n"
    "    /// Where runs of one class start, in Unicode 15.1: first code point << 3 | class.\n"
    "    // swift-format-ignore\n"
    "    static let ranges: [UInt32] = [\n" + "\n".join(lines) + "\n    ]\n}\n"
)
print(f"{len(ranges)} ranges, {path.stat().st_size} bytes")
