"""The chart of deploy/helm, rendered by Helm itself: valid for Kubernetes, true to deploy/kubernetes.yaml, and clear
about what is missing.
"""

from __future__ import annotations

import base64
from typing import Any

import kubernetes_validate
import pytest
import yaml

from animochat import __version__
from animochat.settings import Settings
from tests.deploy.test_deploy_files import KUBERNETES, settings_of
from tests.helpers.servers import ROOT

helm = pytest.importorskip("helm_python", reason="helm_python is not installed")

CHART = ROOT / "deploy/helm"

#: Kinds of other projects, whose schemas no package has.
CUSTOM = {"HTTPRoute", "BackendTrafficPolicy", "ServiceMonitor"}

STORE = {"secrets": {"REDIS_URL": "redis://store:6379"}}
EVERYTHING = {
    "existingSecret": "mine",
    "replicas": 3,
    "ingress": {"enabled": True},
    "gateway": {"enabled": True, "name": "web", "namespace": "gateways", "envoy": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "autoscaling": {"enabled": True},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "chat", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "settings": {"LOBBIES": "main,help", "RATE_TYPING": 2.5, "MAX_MESSAGE_LENGTH": 20_000, "REDIS_TLS_VERIFY": "0"},
}


def rendered(values: dict[str, Any], name: str = "animochat") -> dict[str, dict[str, Any]]:
    """Return the manifests by their kind."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace="web")
    texts = [text for file, text in files.items() if file.endswith(".yaml")]
    manifests = [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]
    assert len({manifest["kind"] for manifest in manifests}) == len(manifests)
    return {manifest["kind"]: manifest for manifest in manifests}


def container(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "values", [{**STORE, "replicas": 1}, {**STORE, "replicas": 3}, EVERYTHING], ids=["1", "3", "all"]
)
def test_the_rendered_chart_is_valid_for_kubernetes(values: dict[str, Any]) -> None:
    manifests = rendered(values)
    for kind in set(manifests) - CUSTOM:
        for version in (kubernetes_validate.latest_version(), "1.30.0"):
            kubernetes_validate.validate(manifests[kind], version, strict=True)
    replicas = None if "autoscaling" in values else values["replicas"]
    assert manifests["Deployment"]["spec"].get("replicas") == replicas


def test_helm_finds_nothing_to_complain_about() -> None:
    for values in (STORE, EVERYTHING):
        report = helm.lint(CHART, values, strict=True, kube_version="v1.34.0")
        assert report["errors"] == []
        assert [it for it in report["messages"] if "icon" not in it["error"]] == []


def test_without_a_store_the_chart_says_what_is_missing() -> None:
    for values in ({}, {"secrets": {"REDIS_URL": ""}}):
        with pytest.raises(helm.HelmRenderError, match=r"Set secrets\.REDIS_URL to its address .*, or existingSecret"):
            rendered(values)
    with pytest.raises(helm.HelmRenderError, match=r"Set gateway\.name"):
        rendered({**STORE, "gateway": {"enabled": True}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 1},
        {"replicas": 0},
        {"settings": {"PORT": "80"}},
        {"settings": {"lobbies": "a"}},
        {"image": {"name": "x"}},
    ],
    ids=str,
)
def test_an_unknown_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        rendered({**STORE, **wrong})


def test_the_server_accepts_the_settings_of_a_pod() -> None:
    secret = rendered(STORE)["Secret"]
    kept = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert kept.pop("REDIS_URL") == "redis://store:6379"
    assert len(set(kept.values())) == 3  # each made for itself
    environment = container(rendered(EVERYTHING))["env"]
    plain = {entry["name"]: entry["value"] for entry in environment if "value" in entry}
    named = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in environment if "valueFrom" in entry}
    assert named == {name: {"name": "mine", "key": name} for name in ("REDIS_URL", *kept)}
    settings = settings_of({**plain, **kept, "REDIS_URL": "redis://store:6379"})
    assert (settings.lobbies, settings.rate_typing, settings.max_message_length) == (("main", "help"), 2.5, 20_000)
    assert settings.production
    assert settings.trusted_proxies == 1
    assert set(EVERYTHING["settings"]) <= {field.upper() for field in Settings.__dataclass_fields__}


def test_the_chart_makes_what_the_plain_manifests_have() -> None:
    """But for names, labels, secrets and the number of pods."""
    theirs = rendered({**STORE, "ingress": {"enabled": True}, "autoscaling": {"enabled": True}})
    ours = {resource["kind"]: resource for resource in KUBERNETES}
    assert set(ours) == set(theirs) - {"Secret"}
    pod, other = (it["Deployment"]["spec"]["template"]["spec"] for it in (ours, theirs))
    for field in ("terminationGracePeriodSeconds", "securityContext", "automountServiceAccountToken", "volumes"):
        assert pod[field] == other[field]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    for field in ("image", "ports", "resources", "lifecycle", "securityContext", "volumeMounts", *probes):
        assert container(ours)[field] == container(theirs)[field]
    for kind, part in (("Deployment", "strategy"), ("HorizontalPodAutoscaler", "behavior"), ("Ingress", "tls")):
        assert ours[kind]["spec"][part] == theirs[kind]["spec"][part]
    assert ours["Ingress"]["metadata"]["annotations"] == theirs["Ingress"]["metadata"]["annotations"]


def test_every_selector_means_the_pods_of_its_own_release() -> None:
    manifests = rendered({**EVERYTHING, "existingSecret": "", **STORE}, name="night")
    assert {manifest["metadata"]["name"] for manifest in manifests.values()} == {"night-animochat"}
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    monitor = manifests["ServiceMonitor"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= manifests["Service"]["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in manifests["Service"]["spec"]["ports"]]
    assert endpoint["authorization"]["credentials"] == {"name": "night-animochat", "key": "METRICS_TOKEN"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (route,) = manifests["HTTPRoute"]["spec"]["rules"]
    assert route["backendRefs"] == [{"name": "night-animochat", "port": 80}]


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
