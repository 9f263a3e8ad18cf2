"""The commands of docs/deploy.md for one machine with systemd, nginx and TLS, run as they are written.

In the place of root's folders there is a temporary one, and free ports stand for 80, 443 and 3001. apt-get, systemctl,
certbot and make only note how they were called; the test starts and stops what systemd would, by its unit.
"""

from __future__ import annotations

import http.client
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from animochat import __version__
from tests.helpers.balancers import SEARCH, balancer, for_a_test, nginx_arguments
from tests.helpers.installed import UV, built, sources
from tests.helpers.servers import ROOT, RedisServer, Server, eventually, free_port

DOCUMENT = (ROOT / "docs/deploy.md").read_text("utf-8")

# Packages are installed, and a server with its chats starts three times.
pytestmark = pytest.mark.timeout(180)

#: Each program that the commands call and that is not run here.
NOTED = ("apt-get", "certbot", "make", "nginx", "systemctl")


def commands(heading: str) -> str:
    """Return the first block of commands below a heading of the document."""
    found = re.search(rf"^## {re.escape(heading)}$.*?```sh\n(.*?)```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


class Service(Server):
    """The server as systemd starts it by the unit that the commands have installed."""

    def __init__(self, machine: Machine) -> None:
        (machine.root / "service").mkdir()
        super().__init__(machine.root / "service")
        self.machine = machine
        self.url = machine.url

    def _unit(self, name: str) -> list[str]:
        unit = (self.machine.root / "etc/systemd/system/animochat.service").read_text()
        return [self.machine.here(value) for value in re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)]

    def _arguments(self) -> list[str]:
        (command,) = self._unit("ExecStart")
        return shlex.split(command)

    def _environment(self) -> dict[str, str]:
        (file,) = self._unit("EnvironmentFile")
        lines = shlex.split(self._unit("Environment")[0]) + Path(file).read_text().splitlines()
        environment = dict(line.split("=", 1) for line in lines)
        return {**environment, "PATH": "/usr/bin:/bin", "PORT": str(self.port), "WEB_CONCURRENCY": "2"}

    def get(self, path: str, method: str = "GET", **options: object) -> requests.Response:
        """One request to the server itself, around nginx."""
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=10)


class Machine:
    """The result of the commands: files below `root`. `url` is the chat's, over TLS."""

    def __init__(self, root: Path, store: RedisServer) -> None:
        self.root = root
        self.store = store
        self.source = sources(root)
        for name in ("animochat.service", "nginx.conf"):
            (self.source / "deploy").mkdir(exist_ok=True)
            shutil.copyfile(ROOT / "deploy" / name, self.source / "deploy" / name)
        self.plain, self.tls = free_port(), free_port()
        self.url = f"https://localhost:{self.tls}"
        for folder in ("etc/redis", "etc/systemd/system", "etc/nginx", "etc/ssl", "opt", "var/www", "bin"):
            (root / folder).mkdir(parents=True)
        for program in NOTED:
            self._program(program, f'echo {program} "$*" >> {root}/calls')
        # Its packages come from uv's cache, which is quicker.
        pip = r'printf "#!/bin/sh\\ncommand=\$1; shift\\nexec %s pip \$command --quiet --python %s \"\$@\"\\n"'
        self._program("python3", f'{UV} venv --quiet --python {sys.executable} "$3" && '
                      f'{pip} {UV} "$3" > "$3/bin/pip" && chmod +x "$3/bin/pip"')  # fmt: skip

    def _program(self, name: str, text: str) -> None:
        (self.root / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.root / "bin" / name).chmod(0o755)

    def here(self, text: str) -> str:
        """Return a text with this machine's folders, domain and store in the place of the recipe's."""
        text = re.sub(r"(?<![\w.}])/(etc|opt|var)/", rf"{self.root}/\1/", text)
        text = text.replace("/usr/local/src/animochat", str(self.source)).replace(
            "DOMAIN=chat.example", "DOMAIN=localhost"
        )
        return text.replace("redis://localhost:6379", self.store.url)

    def run(self, heading: str) -> None:
        built(self.source)
        script = f"set -eu\nPATH={self.root}/bin:$PATH\n{self.here(commands(heading))}"
        result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stdout + result.stderr

    def nginx_text(self, server: Server) -> str:
        """Return the configuration that the commands have installed, but for ports and folders."""
        text = self.here((self.root / "etc/nginx/nginx.conf").read_text())
        for old, new in (("80", self.plain), ("443 ssl http2", f"{self.tls} ssl http2")):
            assert f"listen [::]:{old};" in text
            text = text.replace(f"listen {old};", f"listen 127.0.0.1:{new};").replace(f"listen [::]:{old};", "")
        user = "user root;\n" if os.geteuid() == 0 else ""  # no one else can read a test's folders
        return user + for_a_test(text.replace("127.0.0.1:3001", f"127.0.0.1:{server.port}"), self.root)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    for program in ("openssl", "nginx"):
        if shutil.which(program, path=SEARCH) is None:
            pytest.skip(f"{program} is not installed")
    root = tmp_path_factory.mktemp("machine")
    (root / "store").mkdir()
    store = RedisServer(root / "store", persistent=True).start()
    try:
        machine = Machine(root, store)
        machine.run("One machine with systemd, nginx and TLS")
        yield machine
    finally:
        store.stop()


@pytest.fixture(scope="module")
def service(machine: Machine) -> Iterator[Service]:
    service = Service(machine)
    with balancer(machine.root, "nginx", machine.nginx_text(service), ["-c", "{file}", *nginx_arguments(machine.root)]):
        service.start()
        try:
            yield service
            service.stop()
        finally:
            service.kill()
        service.check_log()


def request(machine: Machine, path: str, tls: bool = True, method: str = "GET", **options: object) -> requests.Response:
    url = machine.url if tls else f"http://localhost:{machine.plain}"
    certificate = str(machine.root / "etc/ssl/animochat/chain.pem")
    return requests.request(method, url + path, verify=certificate, timeout=10, allow_redirects=False, **options)  # type: ignore[arg-type]


def handshake(machine: Machine, **options: object) -> tuple[str | None, str | None]:
    """Return the version of TLS and the protocol that nginx agrees to. Raise ssl.SSLError."""
    context = ssl.create_default_context(cafile=str(machine.root / "etc/ssl/animochat/chain.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # so that nginx refuses what is old, and not this client
    for name, value in options.items():
        setattr(context, name, value)
    plain = socket.create_connection(("127.0.0.1", machine.tls), 10)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        return connection.version(), connection.selected_alpn_protocol()


def test_the_commands_install_nothing_that_they_do_not_name(machine: Machine) -> None:
    calls = (machine.root / "calls").read_text()
    for call in ("apt-get install", "systemctl enable --now animochat", "nginx -t", "certbot certonly --webroot"):
        assert call in calls
    assert (machine.root / "etc/animochat.env").stat().st_mode & 0o777 == 0o600
    hook = machine.root / "etc/ssl/animochat/renewed"
    assert subprocess.run(["sh", "-n", str(hook)], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_tls_is_of_today_and_browsers_are_bound_to_it(machine: Machine, service: Service) -> None:
    assert handshake(machine) == ("TLSv1.3", "h2")
    assert handshake(machine, maximum_version=ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "h2")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(machine, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    for path in ("/", "/metrics"):  # the server's answer and one of nginx's own
        strict = request(machine, path).raw.headers.getlist("Strict-Transport-Security")
        assert strict == ["max-age=31536000"]


def test_without_tls_there_is_only_the_way_to_it_and_the_proof_for_the_certificate(
    machine: Machine, service: Service
) -> None:
    for path in ("/", "/admin", "/metrics", "/socket.io/?EIO=4&transport=polling"):
        answer = request(machine, path, tls=False)
        assert (answer.status_code, answer.headers["Location"]) == (301, f"https://localhost{path}")
    proof = machine.root / "var/www/acme/.well-known/acme-challenge/proof"
    proof.parent.mkdir(parents=True)
    proof.write_text("proof")
    assert request(machine, "/.well-known/acme-challenge/proof", tls=False).text == "proof"


def test_the_server_s_port_and_its_numbers_are_closed_to_the_outside(machine: Machine, service: Service) -> None:
    assert service.get("/metrics").status_code == 200
    with pytest.raises(ConnectionRefusedError):  # another address of this machine
        socket.create_connection(("127.0.0.2", service.port), 10).close()
    for path in ("/metrics", "//metrics", "/%6Detrics", "/./metrics"):
        context = ssl.create_default_context(cafile=str(machine.root / "etc/ssl/animochat/chain.pem"))
        connection = http.client.HTTPSConnection("localhost", machine.tls, timeout=10, context=context)
        connection.request("GET", path)  # which sends a path as it is
        assert connection.getresponse().status == 403, path
        connection.close()


def test_the_operator_logs_in_over_tls_and_gets_a_secure_cookie(machine: Machine, service: Service) -> None:
    (token,) = re.findall(r"^ADMIN_TOKEN=(.+)$", (machine.root / "etc/animochat.env").read_text(), re.MULTILINE)
    answer = request(machine, "/admin/login", method="POST", data={"token": token}, headers={"Origin": machine.url})
    assert answer.status_code == 303
    attributes = {part.strip() for part in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= attributes


def test_a_chat_over_wss_outlives_a_restart_and_an_upgrade(
    machine: Machine, service: Service, person: Callable, meet: Callable
) -> None:
    anna, bert = (person(service, open=False, ignore_https_errors=True) for _ in range(2))
    sockets: list[str] = []
    anna.page.on("websocket", lambda websocket: sockets.append(websocket.url))
    for someone in (anna, bert):
        someone.open()
    meet(anna, bert)
    assert all(url.startswith(f"wss://localhost:{machine.tls}/") for url in sockets)
    assert anna.page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    anna.say("before")

    service.stop(signal.SIGTERM)
    service.start()
    anna.say("after the restart")

    package = machine.source / "animochat/__init__.py"
    major, minor, patch = __version__.split(".")
    newer = f"{major}.{minor}.{int(patch) + 1}"
    package.write_text(package.read_text().replace(f'"{__version__}"', f'"{newer}"'))
    machine.run("Upgrades")
    assert (machine.root / "calls").read_text().endswith("systemctl restart animochat\n")
    service.stop(signal.SIGTERM)
    service.start()
    eventually(lambda: service.get("/health").status_code == 200)
    assert service.get("/health").json()["version"] == newer
    bert.say("after the upgrade")
    expect(bert.messages("partner")).to_have_text(["before", "after the restart"])
    expect(anna.messages("partner")).to_have_text(["after the upgrade"])
