"""Log lines: one per event, readable in development, JSON in production, and without personal data.

    log.info("Disconnected", extra={"connection": connection.id})

Message content, tokens and session ids are never logged; addresses are shortened (`Shortened`). A line about a
connection has its id, and a line written during an HTTP request has the request's, so that related lines can be found.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import secrets
import sys
import time
from contextvars import ContextVar
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from gunicorn.glogging import Logger

log = logging.getLogger(__name__)

#: The id of the request that this greenlet answers.
_request: ContextVar[str] = ContextVar("request", default="")

# Characters that would end a line, or control a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def begin_request() -> str:
    """Start a new request: the following log lines of this greenlet carry its id. Return the id."""
    request = secrets.token_hex(8)
    _request.set(request)
    return request


def about(session: object) -> dict[str, object]:
    """Return the `extra` of a line about an Engine.IO session: the id of its connection, if any."""
    return {"connection": getattr(getattr(session, "owner", None), "id", None)}


class Shortened:
    """An address shortened for logs: its /24, or its /48 for IPv6. Computed only when a line is written."""

    __slots__ = ("_address",)

    def __init__(self, address: str) -> None:
        self._address = address

    def __str__(self) -> str:
        try:
            address = ipaddress.ip_address(self._address.partition("%")[0])
        except ValueError:
            return "-"  # a Unix socket, or text that is not known to be harmless
        address = getattr(address, "ipv4_mapped", None) or address
        return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


class HumanFormatter(logging.Formatter):
    """gunicorn's format, followed by the ids. An exception's traceback follows on further lines."""

    def __init__(self) -> None:
        super().__init__(Logger.error_fmt, Logger.datefmt)

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = "".join(f" ({name} {value})" for name, value in _ids(record).items())
        return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], super().formatMessage(record) + ids)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).encode("utf-8", "backslashreplace").decode()


class JsonFormatter(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `message`, `pid`; `connection`, `request`, `exception` if there are any."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_ids(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str)


def _ids(record: logging.LogRecord) -> dict[str, str]:
    ids = {"connection": getattr(record, "connection", None), "request": _request.get()}
    return {name: value for name, value in ids.items() if value}


_formatter: logging.Formatter = HumanFormatter()


def configure(level: str, production: bool) -> None:
    """Configure the logs of this process, and of those it forks. `level`: "debug", "info", "warning" or "error"."""
    global _formatter
    _formatter = JsonFormatter() if production else HumanFormatter()
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter)
    # No debug lines of libraries: their content is unknown.
    logging.basicConfig(level=max(logging.INFO, getattr(logging, level.upper())), handlers=[handler], force=True)
    logging.getLogger("animochat").setLevel(level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _uncaught


class GunicornLogger(Logger):
    """gunicorn's own lines, and its access log if there is one, in the same form and without personal data."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(_formatter)
        for handler in self.access_log.handlers:
            if isinstance(_formatter, JsonFormatter):
                handler.setFormatter(_formatter)

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """Return the fields of an access log line, without the query, which holds session ids and unknown values."""
        path = environ.get("PATH_INFO", "-")
        return {
            **super().atoms(resp, req, environ, request_time),
            "h": str(Shortened(environ.get("REMOTE_ADDR") or "")),
            "u": "-",
            "r": f"{environ['REQUEST_METHOD']} {path} {environ['SERVER_PROTOCOL']}",
            "q": "",
            "f": urlsplit(environ.get("HTTP_REFERER", "-"))._replace(query="", fragment="").geturl(),
        }


def uncaught(context: object, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replace gevent's `Hub.print_exception`, which logs a greenlet's arguments and thus perhaps message content."""
    log.error("Uncaught in a %s", type(context).__name__, exc_info=(kind, error, trace))


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("Uncaught", exc_info=(kind, error, trace))
