"""Random and adversarial texts for tokenizers, as bytes, from a seed."""

import random
import re

SCRIPTS = [
    (0x20, 0x7E),
    (0xA0, 0xFF),
    (0x100, 0x24F),
    (0x250, 0x2AF),
    (0x2B0, 0x2FF),
    (0x300, 0x36F),
    (0x370, 0x3FF),
    (0x400, 0x52F),
    (0x530, 0x58F),
    (0x590, 0x5FF),
    (0x600, 0x6FF),
    (0x700, 0x7BF),
    (0x900, 0x97F),
    (0x980, 0xBFF),
    (0xE00, 0xEFF),
    (0xF00, 0xFFF),
    (0x1000, 0x109F),
    (0x10A0, 0x10FF),
    (0x1100, 0x11FF),
    (0x1200, 0x139F),
    (0x13A0, 0x16FF),
    (0x1780, 0x18AF),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x20CF),
    (0x2100, 0x218F),
    (0x2190, 0x23FF),
    (0x2460, 0x27BF),
    (0x2C00, 0x2DFF),
    (0x3000, 0x30FF),
    (0x3130, 0x318F),
    (0x31F0, 0x33FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA000, 0xABFF),
    (0xAC00, 0xD7FF),
    (0xE000, 0xE0FF),
    (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF),
    (0xFE00, 0xFEFF),
    (0xFF00, 0xFFFF),
    (0x10000, 0x103FF),
    (0x10400, 0x107FF),
    (0x10A00, 0x10FFF),
    (0x11000, 0x11FFF),
    (0x12000, 0x123FF),
    (0x1D400, 0x1D7FF),
    (0x1E900, 0x1E95F),
    (0x1F000, 0x1FAFF),
    (0x20000, 0x2A6DF),
    (0xE0000, 0xE01EF),
    (0x10FF00, 0x10FFFF),
    (0, 0x1F),
    (0x7F, 0x9F),
]
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\u180e"
WORDS = (
    "the of and to in is that for it as was with be by on not he I this are or his from at which but have an had "
    "they you were there one all we can her has their been if more when will would who so no function return "
    "class import def self None true false int void const Straße naïve façade élève İstanbul ΑΒΓ привет мир שלום "
    "مرحبا नमस्ते สวัสดี 你好 世界 こんにちは 한국어 ﬁne Ａｂｃ HTTPServer camelCase snake_case CONSTANT_CASE ǅ ʼn "
).split()
PIECES = [
    "'s",
    "'S",
    "'re",
    "'RE",
    "'Ve",
    "'ll",
    "'LL",
    "'d",
    "'m",
    "'t",
    "''s",
    "’s",
    "'ſ",
    "l'l",
    "$1,234.56",
    "3.14159e-10",
    "1234567890",
    "٣٤٥",
    "Ⅷ",
    "½",
    "²³",
    "http://a.b/c?d=e&f=%20g",
    "user@example.com",
    "```",
    "/*",
    "*/",
    "...",
    "?!",
    "--",
    "=>",
    "<=",
    "!==",
    "::",
    "\\n",
    "\r\n",
    "\n\n",
    "\n \n",
    " \n",
    "  \t ",
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇩🇪🇫🇷",
    "👍🏽",
    "e\u0301\u0323",
    "a\u0300\u0301\u0302",
    "\u200d",
    "\u202eabc",
    "\x00",
    "\x00\x00",
    "\u2581",
    "\u2581\u2581",
    "Ġ",
    "Ċ",
    "<0x0A>",
    "<unk>",
    "[UNK]",
    "<s>",
    "</s>",
    "<",
    ">",
    "|",
    "<|",
    "|>",
    "<|im_",
    "im_end|>",
    "<|im_end",
    "<|im_end|>>",
    "<<|im_start|>",
    "< |im_end|>",
    "<|im_end |>",
    "<|IM_END|>",
    "<｜im_end｜>",
    "<|im_start|><|im_end|>",
    "<|im_<|im_end|>end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|begin_of_text|>",
    "<|reserved_special_token_1|>",
    "<file_sep>",
    "<repo_name>",
    "<|user|>",
]
BROKEN = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc2",
    b"\xe0\x80\x80",
    b"\xe0\xa0",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x9f\x98",
    b"\xf0\x9f",
    b"\xf4\x8f\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xff\xfe",
    b"\xf0\x82\x82\xac",
    b"\xe2\x28\xa1",
    b"\xf0\x28\x8c\xbc",
    b"\xc3\x28",
]
# llama.cpp ends the process on code points beyond the last one, so these are left out.
BEYOND = re.compile(rb"[\xf5-\xf7][\x80-\xbf]{3}|\xf4[\x90-\xbf][\x80-\xbf]{2}")


class Cases:
    """`specials` are texts of special tokens, `tokens` of any tokens, `run_max` bounds runs of one character."""

    def __init__(self, seed, specials=(), tokens=(), run_max=200):
        self.random = random.Random(seed)
        self.specials = list(specials) or ["<|im_end|>"]
        self.tokens = list(tokens) or ["a"]
        self.run_max = run_max

    def character(self):
        low, high = self.random.choice(SCRIPTS)
        code = self.random.randint(low, high)
        return chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd"

    def fragment(self):
        r = self.random
        kind = r.randrange(14)
        if kind == 0:
            return "".join(self.character() for _ in range(r.randint(1, 12))).encode()
        if kind == 1:
            low, high = r.choice(SCRIPTS)
            text = "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 20)))
            return text.encode("utf-8", "replace")
        if kind == 2:
            return (r.choice(SPACES) * r.randint(1, 5) + r.choice(["", r.choice(SPACES)])).encode()
        if kind == 3:
            repeated = r.choice([r.choice(SPACES), r.choice("aA0'.-=\u00e9\u4e2d\U0001f600"), self.character()])
            return (repeated * r.randint(1, self.run_max)).encode("utf-8", "replace")
        if kind == 4:
            return r.choice(BROKEN)
        if kind == 5:
            return bytes(r.randrange(256) for _ in range(r.randint(1, 8)))
        if kind == 6:
            special = r.choice(self.specials).encode()
            if r.random() < 0.4:
                at = r.randrange(len(special) + 1)
                special = special[:at] + r.choice([b"", b" ", b"|", special[at : at + 1]]) + special[at + 1 :]
            return special
        if kind == 7:
            return r.choice(self.tokens).encode("utf-8", "surrogateescape")
        if kind == 8:
            return "".join(r.choice("0123456789") for _ in range(r.randint(1, 9))).encode()
        if kind in (9, 10):
            return r.choice(PIECES).encode()
        words = [r.choice([str, str, str, str.upper, str.title])(r.choice(WORDS)) for _ in range(r.randint(1, 8))]
        return r.choice([" ", " ", " ", "  ", "\n", ""]).join(words).encode()

    def text(self):
        r = self.random
        while True:
            count = r.choice([0, 1, 1, 2, 3, 4, 6, 10])
            glue = r.choice([b"", b"", b" ", b"\n"])
            text = glue.join(self.fragment() for _ in range(count))
            if not BEYOND.search(text):
                return text
