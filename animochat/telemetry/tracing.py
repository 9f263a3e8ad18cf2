"""OpenTelemetry spans, where its SDK is installed and its environment variables say where to; nothing where not.

    with tracing.span("find-match"):
        ...

What is traced waits for the store: connecting, the client's events that need an answer of the store, and the batches.
Messages are not traced one by one. No span says who it is about.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import Any, TypeVar

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_OFF: AbstractContextManager[None] = contextlib.nullcontext()

_provider: Any = None
_tracer: Any = None


def start(environ: Mapping[str, str]) -> None:
    """Trace from here on if `environ` asks for it. To be called in the worker: the exporter has a greenlet of its own.

    It does with an exporter's address (OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) or name
    (OTEL_TRACES_EXPORTER: otlp, console, none), unless OTEL_SDK_DISABLED is true: OpenTelemetry's specification,
    "Environment Variables". Service name, resource, sampling, headers and the rest the SDK reads itself.
    """
    names = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    asked = [name for name in names if environ.get(name)]
    exporter = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if not asked or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but OpenTelemetry is not installed: pip install 'animochat[otel]'", asked[0])
        return
    # OTLP over HTTP: gRPC's own threads and sockets don't go with gevent.
    name = "otlp_proto_http" if exporter == "otlp" else exporter
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        log.warning("There is no OpenTelemetry exporter %r here: pip install 'animochat[otel]'", exporter)
        return
    resource = Resource.create({} if "OTEL_SERVICE_NAME" in environ else {"service.name": "animochat"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    use(provider)


def use(provider: Any) -> None:
    """Trace with `provider`, an OpenTelemetry TracerProvider; None: not any more."""
    global _provider, _tracer
    _provider = provider
    _tracer = None if provider is None else provider.get_tracer("animochat")


def stop() -> None:
    """Send what is left, and trace no more. Waits for that."""
    provider = _provider
    use(None)
    if provider is not None:
        provider.shutdown()


def span(name: str, **attributes: int) -> AbstractContextManager[None]:
    """A span around a `with` block. Numbers only: nothing that could be somebody's."""
    return _OFF if _tracer is None else _traced(name, attributes)


def traced(name: str) -> Callable[[F], F]:
    """Decorates a function: a span around each of its calls."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with span(name):
                return function(*arguments, **options)

        return call  # type: ignore[return-value]

    return decorate


@contextlib.contextmanager
def _traced(name: str, attributes: Mapping[str, int]) -> Iterator[None]:
    from opentelemetry.trace import StatusCode

    # OpenTelemetry would keep an exception's words, which may be anybody's: here it is its code, or its kind.
    options = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, attributes=attributes, **options) as current:
        try:
            yield
        except Exception as error:
            current.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            current.set_status(StatusCode.ERROR)
            raise
