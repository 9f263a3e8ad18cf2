"""Small changes to a Lua script, each of which should make a test fail: tools/mutate_lua.py tries them.

for mutant in mutants(source):
    print(mutant.line, mutant.change)
    changed = mutant.apply(source)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<string>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<operator>\.\.\.|\.\.|[=~<>]=|[-+*/%^#<>=(){}\[\];:,.])"
)
OPENING = {"(": ")", "{": "}", "[": "]"}

#: Token -> its replacements, one at a time.
SWAPS = {
    "<": ["<=", ">"],
    "<=": ["<"],
    ">": [">=", "<"],
    ">=": [">"],
    "==": ["~="],
    "~=": ["=="],
    "+": ["-"],
    "-": ["+"],
    "*": ["/"],
    "/": ["*"],
    "and": ["or"],
    "or": ["and"],
    "true": ["false"],
    "false": ["true"],
    "max": ["min"],
    "min": ["max"],
    "floor": ["ceil"],
    "'-inf'": ["'+inf'"],
    "'+inf'": ["'-inf'"],
    "'ZRANGE'": ["'ZREVRANGE'"],
    "'ZREVRANGE'": ["'ZRANGE'"],
    "'ZRANGEBYSCORE'": ["'ZREVRANGEBYSCORE'"],
    "'PUBLISH'": ["'ECHO'"],
}
#: Optional arguments of commands.
OPTIONS = {"'NX'", "'XX'", "'GT'", "'LT'", "'MINID'", "'~'"}
#: Commands with any number of members, or pairs, after their key.
MANY = {"'HDEL'", "'DEL'", "'UNLINK'", "'ZREM'", "'SREM'"}
PAIRS = {"'HSET'", "'HMSET'"}
#: Tokens that may precede a statement on its line.
BEFORE_STATEMENT = {"then", "do", "else", "repeat", ";"}
#: Tokens after which an expression goes on in the next line; after any other it may end there.
OPERATORS = {"=", "(", "{", "[", ",", "and", "or", "not", "return", "..", "in", *SWAPS} - {"true", "false"}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Mutant:
    """`text` replaces the source from `start` to `end`. `line` is counted from 1, `code` is its text."""

    line: int
    code: str
    start: int
    end: int
    text: str
    change: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]


def tokens(source: str) -> list[Token]:
    """Return the tokens of a script, without comments."""
    return [
        Token(str(match.lastgroup), match[0], match.start(), match.end())
        for match in TOKEN.finditer(source)
        if match.lastgroup != "comment"
    ]


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a script, in the order of the places that they change."""
    code, lines = tokens(source), source.split("\n")
    for i, token in enumerate(code):
        for start, end, text in _changes(source, code, i):
            old = " ".join(source[start:end].split())
            change = f"{old} -> {text}" if text else f"without {old}"
            line = source.count("\n", 0, token.start)
            yield Mutant(line + 1, lines[line].strip(), start, end, text, change)


def _changes(source: str, code: list[Token], i: int) -> Iterator[tuple[int, int, str]]:
    token = code[i]
    for other in SWAPS.get(token.text, []):
        binary = token.text != "-" or (i > 0 and (code[i - 1].kind != "operator" or code[i - 1].text in ")]}"))
        if binary:
            yield token.start, token.end, other
    if token.text == "not":
        yield token.start, code[i + 1].start, ""
    if token.kind == "number" and not _is_argument(code, i):
        for other in _other_numbers(token.text):
            yield token.start, token.end, other
    if token.text in ("if", "elseif"):
        end = _find(code, i, "then")
        for value in ("true", "false"):
            yield code[i + 1].start, code[end].start, f"{value} "
    if token.text == "break":
        yield token.start, token.end, ""
    if token.text == "'('" and code[i + 1].text == "..":
        yield token.start, token.end, "''"
    if token.text in OPTIONS:
        yield token.start, code[i + 1].end, ""
    if token.kind == "name" and _begins_statement(source, code, i):
        yield from _without_statement(code, i)
    if token.text in MANY | PAIRS:
        yield from _without_members(code, i)
    if token.text == "{":
        yield from _without_fields(code, i)


def _other_numbers(text: str) -> list[str]:
    """Return one more and one less; a change of one in many milliseconds has no effect: then a tenth and ten times."""
    if "." in text:
        return [str(float(text) + 1)]
    number = int(text)
    if number >= 100:
        return [str(number * 10), str(number // 10)]
    return [str(number + 1), str(number - 1)] if number else ["1"]


def _is_argument(code: list[Token], i: int) -> bool:
    """Return whether a number is an index of KEYS or ARGV: any test of the script would notice a change."""
    return i > 1 and code[i - 1].text == "[" and code[i - 2].text in ("KEYS", "ARGV")


def _find(code: list[Token], i: int, text: str) -> int:
    return next(j for j in range(i, len(code)) if code[j].text == text)


def _closing(code: list[Token], i: int) -> int:
    """Return the position of the bracket that closes the one at `i`."""
    depth = 0
    for j in range(i, len(code)):
        depth += (code[j].text in OPENING) - (code[j].text in OPENING.values())
        if depth == 0:
            return j
    raise ValueError("a bracket that is not closed")


def _begins_statement(source: str, code: list[Token], i: int) -> bool:
    if i == 0 or code[i - 1].text in BEFORE_STATEMENT:
        return True
    return "\n" in source[code[i - 1].end : code[i].start] and code[i - 1].text not in OPERATORS


def _without_statement(code: list[Token], i: int) -> Iterator[tuple[int, int, str]]:
    """Leave out a call, or an assignment of one line."""
    j = i
    while j + 1 < len(code) and code[j + 1].text in (".", "["):
        j = _closing(code, j + 1) if code[j + 1].text == "[" else j + 2
    if j + 1 < len(code) and code[j + 1].text == "(":
        yield code[i].start, code[_closing(code, j + 1)].end, ""


def _arguments(code: list[Token], i: int, closing: int) -> list[tuple[int, int]]:
    """Return the first and last token of each part that commas divide, from `i` to the bracket at `closing`."""
    parts, first, j = [], i, i
    while j < closing:
        if code[j].text in OPENING:
            j = _closing(code, j)
        if code[j].text == ",":
            parts.append((first, j - 1))
            first = j + 1
        j += 1
    if first < closing:
        parts.append((first, closing - 1))
    return parts


def _without_members(code: list[Token], i: int) -> Iterator[tuple[int, int, str]]:
    """Leave out one of a command's several members or pairs after the key."""
    depth, closing = 0, i
    while depth >= 0:
        closing += 1
        depth += (code[closing].text in OPENING) - (code[closing].text in OPENING.values())
    step = 2 if code[i].text in PAIRS else 1
    parts = _arguments(code, i, closing)
    if len(parts) <= 2 + step:
        return
    for n in range(2, len(parts) - step + 1, step):
        yield code[parts[n - 1][1]].end, code[parts[n + step - 1][1]].end, ""


def _without_fields(code: list[Token], i: int) -> Iterator[tuple[int, int, str]]:
    """Leave out a named field of a table."""
    closing = _closing(code, i)
    for first, last in _arguments(code, i + 1, closing):
        if last > first + 1 and code[first].kind == "name" and code[first + 1].text == "=":
            end = code[last + 1].end if code[last + 1].text == "," else code[last].end
            yield code[first].start, end, ""
