import json
import urllib.error
import urllib.request

import pytest

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.prometheus import CONTENT_TYPE, PrometheusMetrics
from plexus_scoring.worker.health import Health, HealthServer


@pytest.fixture
def metrics():
    return PrometheusMetrics(environment="test")


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def health(now):
    return Health(stale_seconds=60, clock=lambda: now[0])


@pytest.fixture
def server(health, metrics):
    server = HealthServer(
        health, lambda: (metrics.render(), CONTENT_TYPE), host="127.0.0.1", port=0
    )
    yield server
    server.close()


def get(server, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/health"])
def test_it_is_alive_while_the_loop_beats(server, health, path):
    assert get(server, path) == (200, '{"status": "ok"}\n')


def test_a_loop_that_hangs_is_reported(server, health, now):
    now[0] = 61.0
    status, body = get(server, "/livez")
    assert status == 503
    assert json.loads(body)["status"] == "hanging"
    assert get(server, "/readyz")[0] == 503
    health.beat()
    assert get(server, "/livez")[0] == 200


def test_it_is_ready_only_when_nothing_is_wrong(server, health):
    status, body = get(server, "/readyz")
    assert (status, json.loads(body)["problems"]) == (503, {"start": "starting"})
    health.set_problem("start", None)
    assert get(server, "/readyz")[0] == 200
    health.set_problem("broker", "not connected")
    health.set_problem("draining", "draining")
    assert json.loads(get(server, "/readyz")[1])["problems"] == {
        "broker": "not connected",
        "draining": "draining",
    }
    assert get(server, "/livez")[0] == 200  # a restart would repair neither
    health.set_problem("broker", None)
    assert get(server, "/readyz")[0] == 503


def test_metrics_and_unknown_paths(server, metrics):
    metrics.count(names.JOBS, outcome=names.OUTCOME_COMPLETED)
    metrics.observe(names.JOB_SECONDS, 0.2)
    metrics.gauge(names.IN_FLIGHT, 3)
    status, body = get(server, "/metrics")
    assert status == 200
    assert 'plexus_scoring_jobs_total{outcome="completed"} 1.0' in body
    assert 'plexus_scoring_job_seconds_bucket{le="0.25"} 1.0' in body
    assert "plexus_scoring_jobs_in_flight 3.0" in body
    assert "_created" not in body
    assert get(server, "/")[0] == 404


def test_a_port_that_is_taken_is_named(server, health):
    with pytest.raises(ConfigurationError, match=str(server.port)):
        HealthServer(health, lambda: (b"", ""), host="127.0.0.1", port=server.port)
