"""OpenTelemetry spans, if its SDK is installed and environment variables name a destination; otherwise none.

    with tracing.span("find-match"):
        ...

Everything that waits for the store is traced: connecting, client events that need the store's answer, and batches.
Messages are not traced one by one. No span identifies a person.
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
    """Start tracing if `environ` asks for it. Call this in the worker: the exporter has a greenlet of its own.

    It does so with an exporter's address (OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) or name
    (OTEL_TRACES_EXPORTER: otlp, console, none), unless OTEL_SDK_DISABLED is true: see OpenTelemetry's specification,
    "Environment Variables". The SDK itself reads service name, resource, sampling, headers and the rest.
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
    # OTLP over HTTP: gRPC's own threads and sockets don't work with gevent.
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
    """Trace with `provider`, an OpenTelemetry TracerProvider; None: stop."""
    global _provider, _tracer
    _provider = provider
    _tracer = None if provider is None else provider.get_tracer("animochat")


def stop() -> None:
    """Send the remaining spans, and stop. Waits until they are sent."""
    provider = _provider
    use(None)
    if provider is not None:
        provider.shutdown()


def span(name: str, **attributes: int) -> AbstractContextManager[None]:
    """Return a span around a `with` block. Attributes are numbers only: nothing personal."""
    return _OFF if _tracer is None else _traced(name, attributes)


def traced(name: str) -> Callable[[F], F]:
    """Decorate a function with a span around each of its calls."""

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

    # OpenTelemetry would keep an exception's text, which may be personal: keep its code, or its class.
    options = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, attributes=attributes, **options) as current:
        try:
            yield
        except Exception as error:
            current.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            current.set_status(StatusCode.ERROR)
            raise
