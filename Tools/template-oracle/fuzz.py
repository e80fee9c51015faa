"""Random templates over a small context: mostly of fitting types, so that most of them render, and some nonsense."""

import random

CONTEXT = {
    "a": 7,
    "b": -3,
    "f": 2.5,
    "s": "Hello, Wörld! ",
    "t": "the quick  brown\tfox\njumps-over it",
    "e": "",
    "n": None,
    "y": True,
    "l": [3, 1, 2, 1],
    "w": ["b", "A", "c", "a", "B"],
    "d": {"k": 1, "items": 2, "z": [1, {"q": "deep"}], "Ü": None},
    "m": [
        {"role": "user", "content": "hi", "n": 2},
        {"role": "bot", "content": "<b>", "n": 1},
        {"role": "user", "n": 3, "content": "Ho"},
    ],
}

# What can be made of which type: a kind in braces is an expression of that kind, a raised dot is a space.
KINDS = {
    "string": """s t e 'a' '' 'lo' 'x-y' 'ÄÖü·ß' '12' '-4.5' 'é\\n' '<&>' 'Aa·bB' "it's" ('a'~{x}) ({x}~{x})
        ({string}+{string}) ({string}*{small}) {string}[{small}] {string}[{slice}] ({string})|upper ({string})|lower
        ({string})|title ({string})|capitalize ({string})|trim ({string})|trim('aH!') ({x})|string
        ({string})|replace('l','LL') ({string})|replace('',{string}) ({string})|replace('a','b',1)
        ({string})|indent ({string})|indent(2,true) ({string})|indent('>',blank=true) ({string})|center(20)
        ({string})|truncate(7) ({string})|truncate(5,true) ({string})|truncate(8,false,'~',0)
        ({string})|wordwrap(6) ({string})|wordwrap(4,false) ({string})|wordwrap(5,true,'/') ({string})|urlencode
        ({string})|striptags ({string})|escape ({string})|safe ({string})|reverse ({json})|tojson
        ({json})|tojson(indent=2) ({json})|tojson(sort_keys=true) ({json})|tojson(ensure_ascii=true)
        ({json})|tojson(separators=(',',':')) ({list})|join ({list})|join('-') ({list})|join({string})
        ({strings})|join('--') ({strings})|first ({strings})|last {string}.upper() {string}.lower() {string}.title()
        {string}.capitalize() {string}.swapcase() {string}.strip() {string}.lstrip() {string}.rstrip('!·')
        {string}.strip({string}) {string}.replace('l','') {string}.replace('','-',2) {string}.zfill(6)
        {string}.center({small},'*') {string}.ljust(9) {string}.rjust(9,'.') {string}.removeprefix('He')
        {string}.removesuffix('·') {string}.expandtabs(4) {string}.join({strings}) '{}|{}'.format({x},{x})
        '{0!r:>8}{k}'.format({x},k={x}) '{:05d}/{:+}'.format({int},{int}) '{:.2f}{:e}'.format({number},{number})
        '{:>8}{:^7}|'.format({string},{string}) '%s/%r'%({x},{x}) '%05d%%'%{int} '%.3f|%g'%({number},{number})
        '%-6s|%6s'%({string},{string}) ('%s-%s')|format({x},{x}) '{:,}{:x}{:#o}'.format({int},{int},{int})
        ({int})|filesizeformat(true) {string}.split()[0] ({x})|default('D',true) ({missing})|default({string})
        {dict}.get('nope','dflt') ({m})|map(attribute='role')|join({string})
        ({dict})|xmlattr {string}.partition('l')[2] {string}.rpartition('·')[0]""",
    "int": """a b 0 1 2 -1 3 10 100000 ({int}+{int}) ({int}-{int}) ({int}*{int}) ({int}//{int}) ({int}%{int})
        ({small}**2) -{int} ({list})|length ({string})|length ({dict})|count ({list})|sum ({list})|sum(start=5)
        ({string})|int ({string})|int(3) ({string})|int(0,16) ({number})|int ({int})|abs ({int})|round
        ({string})|wordcount {string}.find('l') {string}.rfind('l') {string}.count('l') {string}.count('')
        {list}.count(1) ({list})|max ({list})|min {string}.index('') ({m})|map(attribute='n')|sum
        ({m})|sum(attribute='n')""",
    "number": """{int} f 0.1 1e3 2.5 -0.5 1e16 1e-7 123456.789 ({number}/{number}) ({number}*{number})
        ({number}-{number}) ({number}//{number}) ({number}%{number}) ({number}+{int}) ({string})|float
        ({number})|round(1) ({number})|round(1,'floor') ({number})|round(0,'ceil') ({number})|round
        ({number})|round(-1) ({number})|abs ({number}**2)""",
    "bool": """y true false none not({x}) ({x}==({x})) ({number}<{number}) ({string}<={string}) ({int}!={x})
        ({string}·in·({string})) ({x}·in·({list})) (({string})·not·in({dict})) ({x}·and({x})) ({x}·or({x}))
        ({number}<{number}<={number}) ({x}·is·defined) ({x}·is·none) ({x}·is·string) ({x}·is·mapping)
        ({x}·is·iterable) ({x}·is·sequence) ({x}·is·number) ({x}·is·integer) ({x}·is·float)
        ({x}·is·boolean) ({x}·is·callable) ({x}·is·undefined) ({x}·is·eq({x})) ({int}·is·odd)
        ({int}·is·divisibleby·3) ({number}·is·gt(2)) ({string}·is·lower) ({string}·is·upper)
        ({x}·is·in({list})) ({x}·is·escaped) ({x}·is·true) ({x}·is·sameas(none)) {string}.isdigit()
        {string}.isalpha() {string}.isalnum() {string}.isspace() {string}.isupper() {string}.islower()
        {string}.istitle() {string}.isdecimal() {string}.isidentifier() {string}.startswith('H')
        {string}.endswith(('!','·')) ({list}<{list})""",
    "list": """l [] range({small}) [{int},{int}] ({list}+{list})|list {list}[{slice}] ({list})|sort
        ({list})|sort(reverse=true) ({list})|reverse ({list})|unique ({list})|list ({list})|select('odd')
        ({list})|reject('eq',1) ({list})|map('string') ({list})|batch(2) ({list})|batch(2,'-') ({list})|slice(2)
        ({list})|slice(3,'.') ({strings}) ({list}*2) ({list}).copy() ({m})|map(attribute='n')
        ({list})|select('in',[1,2]) ({list})|select ({list})|reject ({dict})|dictsort
        ({dict})|dictsort(by='value',reverse=true) ({dict})|items {dict}.items() {dict}.keys() {dict}.values()
        ({m})|groupby('role') ({m})|groupby('role',default='z') range({int},{int},3) range(5)[{slice}]""",
    "strings": """w ['x',{string}] {string}.split() {string}.split(',') {string}.split('l',1) {string}.rsplit('·',1)
        {string}.rsplit() {string}.splitlines() {string}.splitlines(true) {string}.partition('l') ({strings})|sort
        ({strings})|sort(case_sensitive=true) ({strings})|unique ({strings})|map('upper') ({strings})|reverse
        ({strings})|unique(true) ({string})|list ({m})|map(attribute='role') ({m})|map(attribute='none',default='-')
        ({strings})|map('replace','a','_') ({strings})|reject('in','ab')""",
    "m": """m m|sort(attribute='n')
        m|sort(attribute='role,n') m|selectattr('role','equalto','user') m|rejectattr('nope')
        m|selectattr('n') m[{slice}] m|rejectattr('n','gt',1) m|unique(attribute='role') m|reverse""",
    "dict": """d m[0] {} {'k':{x}} {'a':{x},1:{int}} dict(k={x},z=2) d.copy() ({m})|first ({m})|max(attribute='n')
        ({m})|min(attribute='content') dict([('k',{x})])""",
    "json": "{string} {int} {number} {bool} l w d m {dict} [{json},{json}] {'k':{json},'Ä':{json}} ({list})|list",
    "missing": "missing d.nope d['nope'] l[99] ({x}·if·(false)) m[0].nope {string}.nope []|first []|max",
    "small": "0 1 2 3 -1 -2 5 9",
    "slice": ": 1: :2 -2: ::-1 ::2 1:-1 :-1 5: -9:9:2 n:n {small}:{small} {small}:{small}:-1 a:b",
}
KINDS["x"] = "{string} {string} {int} {number} {bool} {list}|list {strings}|list {dict} {m}|list {missing} s x v"
KINDS = {kind: text.replace("\n", " ").split(" ") for kind, text in KINDS.items()}
KINDS = {kind: [item.replace("·", " ") for item in items if item] for kind, items in KINDS.items()}


class Fuzzer:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def case(self):
        return ("".join(self.statement(2) for _ in range(self.random.randint(1, 3))), CONTEXT)

    def pick(self, items):
        return self.random.choice(items)

    def expression(self, kind, depth):
        """An expression of that kind; now and then of any other."""
        is_misfit = self.random.random() < 0.02
        if is_misfit:
            kind = self.pick(list(KINDS))
        choices = KINDS[kind]
        if depth <= 0:
            choices = [item for item in choices if not self.holes(item)] or KINDS["small"]
        text = self.fill(self.pick(choices), depth)
        if kind in ("slice", "small"):
            return text
        # Iterators print with their addresses, so none is left where it may be printed.
        if kind in ("list", "strings", "m") and (is_misfit or self.random.random() < 0.7):
            return f"({text})|list"
        return f"({text})"

    def holes(self, text):
        return [kind for kind in KINDS if "{" + kind + "}" in text]

    def fill(self, text, depth):
        result = ""
        while text:
            kind = next((kind for kind in KINDS if text.startswith("{" + kind + "}")), None)
            if kind:
                result += self.expression(kind, depth - 1)
                text = text[len(kind) + 2 :]
            else:
                result += text[0]
                text = text[1:]
        return result

    def any(self, depth):
        return self.expression("x", depth)

    def statement(self, depth):
        kind = self.random.randrange(12)
        trim = lambda: self.pick(["", "", "", "-", "+"])
        if kind <= 3 or depth <= 0:
            return self.pick(["", " ", "\n  ", "x\n"]) + "{{ " + self.any(self.random.randint(1, 4)) + " }}"
        body = lambda: self.pick(["", " ", "\n", "\n  "]) + self.statement(depth - 1) + self.pick(["", "\n", " \n "])
        if kind == 4:
            test = self.expression("bool", 2)
            return f"{{%{trim()} if {test} {trim()}%}}{body()}{{%{trim()} else %}}{body()}{{% endif {trim()}%}}"
        if kind <= 6:
            loop = self.pick(
                [
                    "",
                    "{{ loop.index }}{{ loop.cycle('o', 'e') }}",
                    "{{ loop.last }}/{{ loop.length }}",
                    "{{ loop.nextitem }}",
                    "{{ loop.changed(x) }}",
                    "{% if loop.first %}{% continue %}{% endif %}",
                    "{% if loop.index > 2 %}{% break %}{% endif %}",
                ]
            )
            end = self.pick(["", "{% else %}none"])
            test = self.pick(["", "", f" if {self.expression('bool', 1)}"])
            items = self.expression(self.pick(["list", "strings", "m", "string", "dict"]), 2)
            return f"{{% for x in {items}{test} {trim()}%}}{loop}{body()}{{{{ x }}}};{end}{{%{trim()} endfor %}}"
        if kind == 7:
            name = self.pick(["a", "s", "v"])
            return f"{{% set {name} = {self.any(3)} %}}{body()}{{{{ {name} }}}}"
        if kind == 8:
            return f"{{% set v {self.pick(['', '| upper ', '| trim '])}%}}{body()}{{% endset %}}[{{{{ v }}}}]"
        if kind == 9:
            return (
                f"{{% macro mac(p, q={self.any(1)}) %}}{body()}{{{{ p }}}}{{{{ q }}}}{{{{ varargs }}}}"
                f"{{% endmacro %}}{{{{ mac({self.any(1)}) }}}}{{{{ mac({self.any(1)}, 1, 2) }}}}"
            )
        if kind == 10:
            return (
                f"{{% set ns = namespace(v={self.any(1)}) %}}"
                f"{{% for i in range(3) %}}{{% set ns.v = [ns.v, {self.any(1)}] %}}{body()}{{% endfor %}}{{{{ ns.v }}}}"
                f"{{% filter upper %}}{body()}{{% endfilter %}}"
            )
        return f"{{%- with x = {self.any(2)} %}}{body()}{{{{ x }}}}{{%- endwith %}}{{# c {trim()}#}}\n"
