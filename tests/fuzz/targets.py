"""Coverage-guided fuzzing of all parsers of clients' bytes, with atheris (libFuzzer)::

    python tests/fuzz/targets.py frames --seconds 600
    python tests/fuzz/targets.py packet --runs 1000000 --seed 1
    python tests/fuzz/targets.py packet crash-0123…     # an earlier finding, again

A target is a function of bytes that raises if something is wrong. libFuzzer keeps interesting inputs in
tests/fuzz/corpus (git ignores it), failing ones included. After a fix, add the failing input to the seeds here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent

#: Seconds that one input may take. Each takes milliseconds, unless its cost grows faster than its length.
TIMEOUT = 20

if __name__ == "__main__":
    import atheris

    sys.path.insert(0, str(HERE.parents[1]))
    # python-socketio parses packets letter by letter where we use a regular expression: that guides libFuzzer
    with atheris.instrument_imports(include=["animochat", "tests.fuzz", "socketio", "websockets"]):
        from tests.fuzz import chat, wire
else:  # only the seeds run
    from tests.fuzz import chat, wire


class Target(NamedTuple):
    """`check` raises if something is wrong; libFuzzer begins with `seeds`."""

    check: Callable[[bytes], None]
    seeds: list[bytes]


def _frame(first: int, payload: bytes) -> bytes:
    """Return a client's frame, masked with zeros."""
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


#: Marks an input that `wire.unpacked` makes long.
STRETCHED = b"\x80"

TARGETS = {
    "frames": Target(
        wire.frames,
        [
            b"\x3f" + _frame(0x81, '42["send-message","é🐘"]'.encode()),
            b"\x03" + _frame(0x01, b"4") + _frame(0x89, b"?") + _frame(0x80, b"2") + _frame(0x82, b"\xff"),
            b"\x3f" + _frame(0x81, b"4\xff"),
            b"\x3f" + _frame(0x81, b"\xff") + _frame(0x89, b"?"),
            b"\x3f" + _frame(0x88, b"\x03\xe8bye") + _frame(0x81, b"late"),
            b"\x0a\x81\xfe\x01\x00" + bytes(4) + b"x" * 256,
            b"\x7f\x81\xfe\x03\x84" + bytes(4) + b"x" * 900 + _frame(0x81, b"2") * 20,
            b"\x3f\x81\xff" + (2**40).to_bytes(8, "big") + bytes(4),
            STRETCHED + b"~" + _frame(0x81, b"2") + b"~",
            STRETCHED + _frame(0x01, b"") + b"~" + _frame(0x00, b"x") + b"~" + _frame(0x80, b""),
        ],
    ),
    "heads": Target(
        wire.heads,
        [
            b"\x80\r\nGET /socket.io/?EIO=4&sid=worker-x HTTP/1.1\r\nHost: a\r\nCookie: \tb \r\nX_Y:\r\n\r\n",
            b"\x10POST / HTTP/1.1\nContent-Length: 5\n\nhello",
            b"\x10POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            b"\x10GET / HTTP/1.1\r\nX : a\r\n\r\n",
            b"\x10GET / HTTP/1.1\r\nX-Forwarded-For:\ta , b\r\nx-forwarded-for: c\r\nX_Forwarded_For: d\r\n\r\n"
            b"X-Forwarded-For: e\n",
            STRETCHED + b"GET / HTTP/1.1\r\nAccept:~a,~\r\n\r\n",
            STRETCHED + b"GET / HTTP/1.1\r\nX:~ ~\0\r\n\r\n",
            STRETCHED + b"GET / HTTP/1.1\r\nX: a~\t~b\r\n\r\n",
            STRETCHED + b"GET / HTTP/1.1\r\n~a:b\r\n~\r\n",
            b"\x81~\r\n~",
            b"\x81GET /~x~ HTTP/1.1\r\n\r\n",
            STRETCHED + b"GET ~/socket.io~?sid=a&sid=b- HTTP/1.1\r\n\r\n",
        ],
    ),
    "payloads": Target(
        wire.payloads,
        [
            b'\x0040\x1e42["send-message","a\\nb"]\x1ebAP8=',
            b"\x00d=4a%0Ab",
            STRETCHED + b"~2\x1e~2",
            STRETCHED + b"b~A~",
            STRETCHED + b"4~\x1e~",
        ],
    ),
    "packet": Target(
        chat.packet,
        [
            b'\x002["find-match",{"interests":["\\ud83d\\udc18",1.5e3,-0,null,true]}]',
            b'\x0021099511627776["send-message","\xc3\xa9"]',
            b'\x0021234567890123456789["a"]',
            b'\x0052-/admin?x=1,7["a",{"_placeholder":true,"num":0}]',
            b'\x000{"token":"x","pid":"y","offset":"i"}',
            b"\x001/other,",
            b"\x0031[{}]",
            b"\x000\r\n0",
            b"\x003120-0",
            b"\x0031[" + b"6" * 120 + b"]",
            b"\x0015179895151798961[]",
            STRETCHED + b"2~[~]",
            STRETCHED + b'2["~\\ud83d~"]',
            STRETCHED + b"2~1~[",
            STRETCHED + b"0/~?~,",
            STRETCHED + b'2["a",~1~]',
            STRETCHED + b'2["a",0.~1~]',
        ],
    ),
    "arguments": Target(
        chat.arguments,
        [
            b'\x00{"interests":[" Music ","\xef\xac\x81","\xc7\xb0"]}',
            b"\x02null",
            b'\x03"  A b4d \\u00e9 x.\\u2028 "',
            b'\x03{"content":"hello","clientId":"1","replyTo":"room-1","more":[]}',
            b'\x04{"isTyping":false}',
            b'\x04{"isTyping":"true"}',
            b"\x06",
            b'\x07{"reason":"spam","details":"\\u0000"}',
            STRETCHED + b'{"interests":["a"~,"b"~]}',
            b'\x83"~\\u0000~"',
            b'\x87{"reason":"~x~"}',
        ],
    ),
    "credentials": Target(
        chat.credentials,
        [
            b"\0" + chat.TOKEN.encode(),
            b"\0" + chat.PID.encode(),
            b"\0c.0123456789abcdef0123456789abcdef.a.12.p",
            b"\0c.0.b.-1.a",
            b"\0i",
            STRETCHED + chat.TOKEN.encode() + b"~.~",
            STRETCHED + b"c.~0~.a.1.p",
        ],
    ),
}

#: Words that libFuzzer would not find by chance, in its notation.
WORDS = [
    *("~", r"\"", r"\\", r"\x1e", "null", "true", "1e9", r"\xf0\x9f\x90\x98", r"\\ud83d", r"\xe2\x80\xa8"),
    *("interests", "content", "clientId", "replyTo", "isTyping", "reason", "details", "spam", "_placeholder"),
    *("socket.io", "sid=", "Content-Length: 1", "Transfer-Encoding: chunked", r"\x0d\x0a"),
]


def main() -> Any:
    """Fuzz, and exit with libFuzzer's status: 0 if nothing was found. With files: only try those."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("files", nargs="*", type=Path, help="inputs to try once each")
    parser.add_argument("--runs", type=int, default=-1, help="how many inputs (default: without end)")
    parser.add_argument("--seconds", type=int, default=0, help="for how long (default: without end)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: another one each time)")
    parser.add_argument("--corpus", type=Path, help="a folder for what was found (default: tests/fuzz/corpus/TARGET)")
    options = parser.parse_args()
    target = TARGETS[options.target]
    if options.files:
        for file in options.files:
            target.check(file.read_bytes())
        return 0
    corpus = options.corpus or HERE / "corpus" / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = corpus.with_suffix(".words")
    dictionary.write_text("".join(f'"{word}"\n' for word in WORDS))
    flags = [f"-runs={options.runs}", f"-max_total_time={options.seconds}", f"-seed={options.seed}"]
    flags += [f"-timeout={TIMEOUT}", "-max_len=4096", f"-dict={dictionary}", f"-artifact_prefix={corpus}/"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.check)
    return atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
