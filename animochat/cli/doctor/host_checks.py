"""The doctor's checks without the store: settings, the page's files, open files, the port, proxies."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from animochat import __version__
from animochat.cli.doctor.check_result import CheckResult, Level
from animochat.settings import Settings
from animochat.store.url import parse
from animochat.web.page import missing_libraries

#: Open files of a worker besides its clients: the listening socket, the store, hand-overs, the log, loading modules.
OTHER_FILES = 100

#: Seconds in which the program on our port has to report its version.
PORT_TIMEOUT = 3.0

#: Variables that show that every connection comes through a proxy, and the platforms that set them.
BEHIND_A_PROXY = {
    "DYNO": "Heroku",
    "FLY_APP_NAME": "Fly",
    "K_SERVICE": "Cloud Run",
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
    "RENDER": "Render",
}


#: Addresses that stand for all of a machine's, and addresses at which a server that listens on them answers.
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def machine_findings(settings: Settings, environ: Mapping[str, str]) -> Iterator[CheckResult]:
    """Yield all checks except those of the store. `environ` shows the platform."""
    yield _settings(settings)
    yield _client_url(settings)
    yield _page()
    yield _reports(settings)
    yield from _certificate(settings, environ)
    yield _workers(settings)
    yield _open_files(settings)
    yield _port(settings)
    yield _proxies(settings, environ)


def _settings(settings: Settings) -> CheckResult:
    return CheckResult(Level.OK, "settings", f"valid, for {settings.app_env}")


def _client_url(settings: Settings) -> CheckResult:
    if "*" in settings.client_url and settings.production:
        return CheckResult(
            Level.WARNING, "origins", "CLIENT_URL=*: any page may use this server; list the ones that should"
        )
    if "null" in settings.client_url and settings.production:
        text = "CLIENT_URL contains null, the origin of any local file and sandboxed frame: remove it"
        return CheckResult(Level.WARNING, "origins", text)
    if settings.client_url == Settings().client_url and settings.production:
        text = "only the server's own page (and a developer's at localhost): set CLIENT_URL if another needs it"
        return CheckResult(Level.OK, "origins", text)
    return CheckResult(Level.OK, "origins", f"the server's own page, and {', '.join(settings.client_url)}")


def _page() -> CheckResult:
    missing = missing_libraries()
    if not missing:
        return CheckResult(Level.OK, "page", "its libraries are installed")
    return CheckResult(Level.WARNING, "page", f"{', '.join(missing)} missing: run `npm ci` and `npm run build`")


def _reports(settings: Settings) -> CheckResult:
    if settings.admin_token is not None:
        return CheckResult(Level.OK, "reports", "shown at /admin")
    text = "only `animochat reports` shows them: set ADMIN_TOKEN for the operator's page at /admin"
    return CheckResult(Level.WARNING if settings.production else Level.OK, "reports", text)


def _certificate(settings: Settings, environ: Mapping[str, str]) -> Iterator[CheckResult]:
    address = parse(settings.redis_url) if settings.redis_url is not None else None
    if address is None or not address.tls:
        return
    if dict(address.options).get("ssl_cert_reqs") != "none":
        yield CheckResult(Level.OK, "certificate", "that of the store is checked")
        return
    text = "that of the store is not checked (REDIS_TLS_VERIFY=0, or ssl_cert_reqs=none)"
    if environ.get("DYNO"):
        yield CheckResult(Level.OK, "certificate", f"{text}: Heroku's is self-signed")
    else:
        text += ": anyone on the way to it can read and change everything; name its authority in ssl_ca_certs"
        yield CheckResult(Level.WARNING, "certificate", text)


def _workers(settings: Settings) -> CheckResult:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"{settings.web_concurrency} on {cores} cores"
    if settings.web_concurrency > cores:
        return CheckResult(
            Level.WARNING, "workers", f"{text}: more workers than cores gain nothing; lower WEB_CONCURRENCY"
        )
    return CheckResult(Level.OK, "workers", text)


def _open_files(settings: Settings) -> CheckResult:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = (settings.max_connections or Settings().max_connections) + OTHER_FILES
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return CheckResult(Level.OK, "open files", f"{allowed} allowed in this shell; a full worker needs {needed}")
    if settings.max_connections == 0:
        bound = "connections are unlimited: set MAX_CONNECTIONS, or"
    else:
        bound = f"a full worker needs {needed}: lower MAX_CONNECTIONS, or"
    advice = f"raise the limit (`ulimit -n {needed}`, systemd's LimitNOFILE, a container's ulimits)"
    return CheckResult(Level.WARNING, "open files", f"{allowed} allowed in this shell; {bound} {advice}")


def _port(settings: Settings) -> CheckResult:
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return CheckResult(Level.ERROR, "port", f"HOST: {settings.host} is not known here ({error.strerror})")
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            return CheckResult(Level.OK, "port", f"{settings.port} is free")
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                text = f"HOST: {settings.host} is no address of this machine"
                return CheckResult(Level.ERROR, "port", text)
            if error.errno == errno.EACCES:
                text = f"{settings.port} needs root: use a port above 1023, with a proxy in front"
                return CheckResult(Level.ERROR, "port", text)
            if error.errno != errno.EADDRINUSE:
                return CheckResult(Level.ERROR, "port", f"{settings.port} can't be used: {error.strerror}")
    version = _our_version(settings)
    if version is None:
        return CheckResult(Level.ERROR, "port", f"{settings.port} is used by another program: stop it, or set PORT")
    if version != __version__:
        text = f"AniMoChat {version} runs on port {settings.port}, but {__version__} is installed: restart it"
        return CheckResult(Level.WARNING, "port", text)
    return CheckResult(Level.OK, "port", f"AniMoChat {version} runs on port {settings.port}")


def _our_version(settings: Settings) -> str | None:
    """Return the version of the server there; None if it isn't ours, or can't answer because its store is gone."""
    host = ANY_ADDRESS.get(settings.host, settings.host)
    place = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(f"http://{place}:{settings.port}/health")
    # The environment's proxies are not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PORT_TIMEOUT) as answer:
            health = json.loads(answer.read(10_000))
    except (OSError, ValueError):
        return None
    return str(health["version"]) if isinstance(health, dict) and {"redis", "version"} <= health.keys() else None


def _in_container() -> bool:
    """Return whether the address is a container's own, which its engine may or may not publish."""
    return any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def _proxies(settings: Settings, environ: Mapping[str, str]) -> CheckResult:
    count = settings.trusted_proxies
    platform = next((name for variable, name in BEHIND_A_PROXY.items() if environ.get(variable)), None)
    if count:
        text = f"{count} trusted: clients must not reach the server around them, or they can claim any address"
        if settings.production and settings.host in ANY_ADDRESS and platform is None and not _in_container():
            text += "; HOST is all addresses: set it to the one that the proxy uses (127.0.0.1 on the same machine)"
            return CheckResult(Level.WARNING, "proxies", text)
        return CheckResult(Level.OK, "proxies", text)
    if platform is not None:
        text = f"none trusted, but {platform} has one: everyone counts as one address; set TRUSTED_PROXIES=1"
        return CheckResult(Level.WARNING, "proxies", text)
    return CheckResult(Level.OK, "proxies", "none trusted: right if clients connect directly, else set TRUSTED_PROXIES")
