"""The chart, rendered by Helm's own library and validated against Kubernetes' schemas."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.support import images

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "infrastructure" / "helm" / "plexus-scoring"
DIGEST = "sha256:" + "a" * 64
EVERYTHING = {
    "image": {"digest": DIGEST},
    "existingSecret": "plexus",
    "settings": {"PLEXUS_ACCOUNT_KEY": "acme"},
    "autoscaling": {
        "enabled": True,
        "sqs": {"queueUrl": "https://sqs.us-east-1.amazonaws.com/1/q", "region": "us-east-1"},
        "redis": {"address": "redis:6379"},
    },
    "serviceMonitor": {"enabled": True},
}


@pytest.fixture(scope="module")
def helm():
    if importlib.util.find_spec("helm_python") is None:
        images.missing("helm-python-sdk is not installed: make setup-infra")
    import helm_python

    return helm_python


def render(helm, **values):
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render({**EVERYTHING, **values}, name="scoring", namespace="default")
    documents = [d for text in files.values() for d in yaml.safe_load_all(text) if d]
    return {document["kind"]: document for document in documents}


def test_the_chart_lints(helm):
    report = helm.lint(str(CHART), EVERYTHING, strict=True)
    assert [m for m in report["messages"] if m["severity"] >= 2] == []


@pytest.mark.parametrize("transport", ["rabbitmq", "sqs", "redis"])
def test_manifests_are_valid_kubernetes(helm, transport):
    import kubernetes_validate

    manifests = render(helm, transport=transport)
    assert set(manifests) - {"TriggerAuthentication"} == {
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "ScaledObject",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }
    for kind, manifest in manifests.items():
        if kind not in {
            "ScaledObject",
            "ServiceMonitor",
            "TriggerAuthentication",
        }:  # of operators, not of Kubernetes
            kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_pods_run_without_root_and_drain_before_they_are_killed(helm):
    spec = render(helm)["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["image"].endswith(f"@{DIGEST}")
    drain = int(next(e["value"] for e in container["env"] if e["name"] == "PLEXUS_DRAIN_SECONDS"))
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert spec["terminationGracePeriodSeconds"] > drain + 5


def test_the_database_is_upgraded_before_a_pod_works(helm):
    spec = render(helm)["Deployment"]["spec"]["template"]["spec"]
    (before,) = spec["initContainers"]
    (worker,) = spec["containers"]
    assert before["args"] == ["db", "upgrade"]
    assert before["image"] == worker["image"]
    assert before["envFrom"] == worker["envFrom"] == [{"secretRef": {"name": "plexus"}}]
    assert before["securityContext"] == worker["securityContext"]
    without = render(helm, upgradeDatabase=False)["Deployment"]["spec"]["template"]["spec"]
    assert "initContainers" not in without


def test_scaling_counts_work_in_flight(helm):
    triggers = {
        transport: render(helm, transport=transport)["ScaledObject"]["spec"]["triggers"]
        for transport in ("rabbitmq", "sqs", "redis")
    }
    assert triggers["rabbitmq"][0]["metadata"]["excludeUnacknowledged"] == "false"
    assert triggers["rabbitmq"][0]["metadata"]["protocol"] == "http"
    assert triggers["sqs"][0]["metadata"]["scaleOnInFlight"] == "true"
    lists = {t["name"]: t["metadata"]["listName"].rpartition(":")[2] for t in triggers["redis"]}
    assert lists == {"waiting": "wait", "active": "active"}
    redis = render(helm, transport="redis")["ScaledObject"]["spec"]["advanced"]
    assert redis["scalingModifiers"] == {"formula": "waiting + active", "target": "10"}


def test_keda_may_ask_rabbitmq_s_management(helm):
    manifests = render(helm, transport="rabbitmq")
    (trigger,) = manifests["ScaledObject"]["spec"]["triggers"]
    authentication = manifests["TriggerAuthentication"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "host", "name": "plexus", "key": "RABBITMQ_MANAGEMENT_URL"}
    ]
    own = render(
        helm,
        transport="rabbitmq",
        autoscaling={**EVERYTHING["autoscaling"], "authentication": "ours"},
    )
    assert "TriggerAuthentication" not in own
    assert own["ScaledObject"]["spec"]["triggers"][0]["authenticationRef"] == {"name": "ours"}


def test_ids_that_look_like_numbers_stay_text(helm):
    settings = {"PLEXUS_ACCOUNT_KEY": "0045"}
    spec = render(helm, settings=settings)["Deployment"]["spec"]["template"]["spec"]
    assert {"name": "PLEXUS_ACCOUNT_KEY", "value": "0045"} in spec["containers"][0]["env"]


def test_pods_are_spread_and_reached_on_one_port_only(helm):
    manifests = render(helm)
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    keys = [one["topologyKey"] for one in spec["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    policy = manifests["NetworkPolicy"]["spec"]
    labels = manifests["Deployment"]["spec"]["selector"]["matchLabels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"terminationGracePeriodSeconds": 60}, "must be at least 130"),
        ({"image": {"repository": "r", "digest": ""}}, "set image.digest"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"transport": "kafka"}, "transport"),
        ({"settings": {"PLEXUS_ACCOUNT_KEY": 45}}, "PLEXUS_ACCOUNT_KEY"),
        (
            {"settings": {"PLEXUS_STORE": "dynamodb"}},
            "upgradeDatabase is true and settings.PLEXUS_STORE is dynamodb",
        ),
        ({"existingSecret": ""}, "set existingSecret"),
        ({"replica": 3}, "replica"),
    ],
)
def test_bad_values_are_refused(helm, values, message):
    with pytest.raises(helm.HelmError, match=message):
        render(helm, **values)


def test_the_grafana_dashboard_shows_metrics_that_exist():
    from plexus_scoring.telemetry import names

    known = {value for key, value in vars(names).items() if key.isupper()}
    dashboard = json.loads((ROOT / "infrastructure/grafana/plexus-scoring.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    used = set(re.findall(r"plexus_scoring_\w+", " ".join(expressions)))
    assert {re.sub(r"_bucket$", "", name) for name in used} <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) >= 8
