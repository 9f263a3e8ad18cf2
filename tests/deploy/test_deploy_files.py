"""The files in deploy/ (and app.json, Procfile, compose.yaml) for systems that can't run here: checked by schema, by
the systems' own tools, and against the server's settings, routes and times.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from animochat import __version__
from animochat.settings import Settings
from tests.helpers.balancers import SEARCH
from tests.helpers.servers import ROOT, Server, free_port

COMPOSE_FILES = ["compose.yaml", "deploy/compose.yaml"]

KUBERNETES = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))


def graceful_timeout() -> int:
    """gunicorn's, in seconds; read, since importing the module would read the environment."""
    found = re.search(r"^graceful_timeout = (\d+)$", (ROOT / "animochat/gunicorn_conf.py").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def settings_of(environment: dict[str, str]) -> Settings:
    """Return the server's settings from an environment; fail if a name is unknown or a value is refused."""
    known = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(environment) <= set(known)
    return Settings.from_environ(environment)


def kubernetes(kind: str) -> Any:
    (found,) = [resource for resource in KUBERNETES if resource["kind"] == kind]
    return found


# systemd


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with this environment's program in the place of the one in /opt."""
    text = (ROOT / "deploy/animochat.service").read_text()
    program = "/opt/animochat/bin/animochat"
    assert text.count(f"ExecStart={program} ") == 1
    file = tmp_path / "animochat.service"
    file.write_text(text.replace(program, str(Path(sys.executable).with_name("animochat"))))
    return file


def test_systemd_accepts_the_unit_without_warnings(unit: Path) -> None:
    result = systemd_analyze("verify", str(unit))
    assert (result.returncode, result.stderr) == (0, "")


def test_an_unknown_setting_of_systemd_is_a_warning(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=mixd"))
    assert "mixd" in systemd_analyze("verify", str(unit)).stderr


def test_the_unit_gives_the_service_as_little_as_it_needs(unit: Path) -> None:
    """By systemd's own measure, from 0 to 10 (the threshold is ten times that)."""
    result = systemd_analyze("security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
    assert result.returncode == 0, result.stdout


def test_systemd_is_notified_when_the_server_listens(module_servers: Any, tmp_path: Path) -> None:
    """Type=notify: READY=1 at the socket that the environment names, from the main process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        path = tmp_path / "notify"
        notified.bind(str(path))
        notified.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notified.settimeout(10)
        server: Server = module_servers(env={"NOTIFY_SOCKET": str(path)})
        data, ancillary, _, _ = notified.recvmsg(1024, socket.CMSG_SPACE(12))
        assert b"READY=1" in data.split(b"\n")
        assert int.from_bytes(ancillary[0][2][:4], sys.byteorder) == server.pid


def test_systemd_waits_longer_than_the_server_takes_to_stop(unit: Path) -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
    assert int(seconds) > graceful_timeout()


# compose


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_is_one_by_the_schema(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / name)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_runs_our_servers_with_settings_that_they_take(name: str) -> None:
    services = yaml.safe_load((ROOT / name).read_text())["services"]
    servers = [service for service in services.values() if "build" in service]
    assert servers
    for service in servers:
        assert (ROOT / name).parent.joinpath(service["build"], "Dockerfile").is_file()
        # as compose fills variables in that are not set
        environment = {k: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", v) for k, v in service["environment"].items()}
        settings = settings_of(environment)
        # every other setting comes from a file, which may not move the server within its container
        assert service["env_file"] == [{"path": ".env", "required": False}]
        assert (settings.port, settings.host) == (3001, "0.0.0.0")
        assert int(service["stop_grace_period"].removesuffix("s")) > graceful_timeout()


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_the_store_of_a_compose_file_keeps_its_data(name: str) -> None:
    compose = yaml.safe_load((ROOT / name).read_text())
    store = compose["services"]["store"]
    (volume,) = store["volumes"]
    assert volume.partition(":")[0] in compose["volumes"]
    assert volume.partition(":")[2] == "/data"
    command = " ".join(store["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_servers_behind_haproxy_are_those_that_compose_starts() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    balancer = services["balancer"]
    named = dict(re.findall(r'server \w+ "\$\{(\w+)-([0-9.:]+)\}"', (ROOT / "deploy/haproxy.cfg").read_text()))
    assert sorted(balancer["environment"]) == sorted(named)
    for address in balancer["environment"].values():
        host, port = address.split(":")
        assert "build" in services[host]
        assert port == "3001"
    (mounted, *_) = balancer["volumes"][0].split(":")
    assert (ROOT / "deploy" / mounted).resolve() == ROOT / "deploy/haproxy.cfg"
    assert all(s["environment"]["TRUSTED_PROXIES"] == "1" for s in services.values() if "build" in s)


# Docker


def health_check(port: int) -> int:
    """The exit status of the image's own check, where the environment names a proxy that is none."""
    (command,) = re.findall(r"HEALTHCHECK .*\\\n    CMD (\[.*\])", (ROOT / "Dockerfile").read_text())
    program, *arguments = json.loads(command)
    assert program == "python"
    proxy = "http://127.0.0.1:1"
    env = {"PORT": str(port), "http_proxy": proxy, "HTTP_PROXY": proxy, "all_proxy": proxy}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, timeout=30).returncode


def test_the_image_s_health_check_asks_the_server_and_no_proxy(module_server: Server) -> None:
    assert health_check(module_server.port) == 0
    assert health_check(free_port()) != 0


# Kubernetes


@pytest.mark.parametrize("resource", KUBERNETES, ids=lambda resource: resource["kind"])
def test_a_manifest_is_one_by_the_schema(resource: dict[str, Any]) -> None:
    """Of the newest version known here, and of one that is two years older; unknown fields are mistakes."""
    for version in (kubernetes_validate.latest_version(), "1.30.0"):
        kubernetes_validate.validate(resource, version, strict=True)


def test_an_unknown_field_in_a_manifest_is_a_mistake() -> None:
    resource = json.loads(json.dumps(kubernetes("Service")))
    resource["spec"]["prot"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, "1.30.0", strict=True)


def test_a_pod_has_time_to_send_its_clients_elsewhere() -> None:
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + graceful_timeout()


def test_the_probes_ask_for_routes_that_exist_and_only_readiness_asks_for_the_store() -> None:
    (container,) = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert all(ports[probe["port"]] == 3001 for probe in paths.values())
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/health/live", "readiness": "/health", "liveness": "/health/live",
    }  # fmt: skip
    # the store has a second to answer /health, so the probe has to wait longer
    assert container["readinessProbe"]["timeoutSeconds"] > 1


def test_the_manifests_speak_of_one_thing() -> None:
    """Selectors find the pods, the Service leads to them, the Ingress to it, and the rest means the Deployment."""
    spec = kubernetes("Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert spec["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
    assert kubernetes("Service")["spec"]["selector"] == labels
    assert kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    target = kubernetes("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", kubernetes("Deployment")["metadata"]["name"])
    (path,) = kubernetes("Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == kubernetes("Service")["metadata"]["name"]
    (port,) = kubernetes("Service")["spec"]["ports"]
    assert path["backend"]["service"]["port"]["name"] == port["name"]
    (container,) = spec["template"]["spec"]["containers"]
    assert port["targetPort"] in [p["name"] for p in container["ports"]]
    assert container["image"] == f"animochat:{__version__}"


def test_a_pod_runs_with_settings_that_the_server_takes() -> None:
    (container,) = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"]
    given = {"REDIS_URL": "redis://store:6379"}
    given.update(dict.fromkeys(("SECRET_KEY", "ADMIN_TOKEN", "METRICS_TOKEN"), "0123456789abcdef"))
    secret = {entry["name"] for entry in container["env"] if "valueFrom" in entry}
    assert secret == set(given)
    plain = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    settings = settings_of({**plain, **given})
    assert settings.production
    assert settings.port == container["ports"][0]["containerPort"]
    assert settings.host == "0.0.0.0"
    assert "LOBBIES" in plain


def test_haproxy_takes_the_ingress_s_own_lines(tmp_path: Path) -> None:
    program = shutil.which("haproxy", path=SEARCH)
    if program is None:
        pytest.skip("haproxy is not installed")
    annotations = kubernetes("Ingress")["metadata"]["annotations"]
    lines = [f"balance {annotations['haproxy.org/load-balance']}"]
    lines += annotations["haproxy.org/backend-config-snippet"].splitlines()
    ends = ["defaults", "mode http", "timeout client 50s", "timeout connect 5s", "timeout server 50s"]
    ways = ["frontend web", f"bind 127.0.0.1:{free_port()}", "default_backend animochat", "backend animochat"]
    text = "\n".join([*ends, *ways, *lines, "server pod 127.0.0.1:3001"])
    file = tmp_path / "haproxy.cfg"
    file.write_text(text + "\n")
    result = subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True)
    assert (result.returncode, "[ALERT]" in result.stderr) == (0, False), result.stderr


# Heroku-like platforms


def test_a_platform_starts_the_commands_of_app_json_and_the_procfile() -> None:
    """No package has a schema of app.json; what it may hold is in the platform's documents."""
    app = json.loads((ROOT / "app.json").read_text())
    assert set(app) <= {
        "name", "description", "keywords", "stack", "buildpacks", "formation", "addons", "env", "website", "repository",
        "logo", "success_url", "scripts", "environments", "image",
    }  # fmt: skip
    processes = [line.partition(":")[0] for line in (ROOT / "Procfile").read_text().splitlines()]
    assert list(app["formation"]) == processes == ["web"]
    # the page's library comes from npm, and has to be there when Python's buildpack installs the package
    assert [buildpack["url"] for buildpack in app["buildpacks"]] == ["heroku/nodejs", "heroku/python"]
    # the add-on sets REDIS_URL, which names it
    assert app["addons"][0]["as"] == "REDIS"
    values = {name: "0123456789abcdef" if "generator" in v else v["value"] for name, v in app["env"].items()}
    settings = Settings.from_environ({"DYNO": "web.1", "REDIS_URL": "rediss://:x@store.example:6380", **values})
    assert settings_of(values).production
    assert settings.admin_token
    assert settings.trusted_proxies == 1
    assert "ssl_cert_reqs=none" in str(settings.redis_url)


def test_the_platform_s_python_is_that_of_the_image() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    assert set(re.findall(r"^FROM python:([0-9.]+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE)) == {version}
