"""The Kubernetes backend against a scripted API server, over TLS as in a pod and over plain HTTP."""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner.backends.base import State
from clevagent.runner.backends.kubernetes import BACKEND, MERGE, RESTARTED_AT, Kubernetes
from clevagent.runner.target import Target, make_target
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.client_sdk.runner.cases import BackendCases
from tests.client_sdk.runner.fake_api import FakeApi

NAME = "work/deployment/bot"
PATH = "/apis/apps/v1/namespaces/work/deployments/bot"
PODS = "/api/v1/namespaces/work/pods"


@pytest.fixture
def cluster() -> Iterator[FakeApi]:
    """Like `kubectl proxy`: plain HTTP without authentication."""
    with FakeApi() as api:
        yield api


@pytest.fixture
def bot(cluster: FakeApi) -> Target:
    return make_target("k8s", NAME, options={"api": f"http://127.0.0.1:{cluster.port}"})


def holds(
    cluster: FakeApi, *pods: dict[str, Any], wanted: int = 1, ready: int = 0, late: bool = False, **metadata: Any
) -> None:
    """Set up the Deployment with this many replicas and these pods."""
    conditions = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}] if late else []
    status = {"readyReplicas": ready, "conditions": conditions} if ready or late else {}
    spec = {"replicas": wanted, "selector": {"matchLabels": {"app": "bot"}}}
    cluster.answers["GET", PATH] = (200, {"metadata": metadata, "spec": spec, "status": status})
    cluster.answers["GET", PODS] = (200, {"items": list(pods)})
    cluster.answers["PATCH", PATH] = (200, {})


def pod(restarts: int = 0, waiting: str = "", last: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    state: dict[str, Any] = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    container = {"restartCount": restarts, "state": state, "lastState": {"terminated": last} if last else {}}
    return {"metadata": metadata, "status": {"containerStatuses": [container]}}


class KubernetesWorld:
    """A cluster with one Deployment, `bot`."""

    backend = BACKEND

    def __init__(self, cluster: FakeApi, bot: Target) -> None:
        self.cluster, self.target = cluster, bot
        self.unknown_target = make_target("k8s", "work/deployment/stranger", options=bot.options)

    def runs(self) -> None:
        holds(self.cluster, pod(), ready=1)

    def has_failed(self) -> None:
        holds(self.cluster, pod(restarts=4, waiting="CrashLoopBackOff", last={"reason": "Error", "exitCode": 1}))

    def hangs(self) -> None:
        self.runs()
        self.cluster.hang = 30

    def talks_nonsense(self) -> None:
        self.cluster.answers["GET", PATH] = (200, b"<html>")

    def is_gone(self) -> None:
        self.cluster.__exit__()

    def refuses(self) -> None:
        self.runs()
        self.cluster.answers["PATCH", PATH] = (403, {"message": "deployments is forbidden"})


@pytest.fixture
def world(cluster: FakeApi, bot: Target, monkeypatch: pytest.MonkeyPatch) -> KubernetesWorld:
    monkeypatch.setenv("CLEVAGENT_KUBERNETES_API", bot.options["api"])
    return KubernetesWorld(cluster, bot)


class TestKubernetes(BackendCases):
    bad_names = (
        "bot",
        "work/bot",
        "work/pod/bot",
        "work/deployment/../bot",
        "a/b/c/d",
        "Work/deployment/bot",
        "/deployment/b",
    )


def test_ready_workload_is_running(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, pod(restarts=2), ready=1)
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.why) == (State.RUNNING, "")
    assert seen.evidence == {"replicas": 1, "readyReplicas": 1, "restartCount": 2}


def test_partly_ready_workload_is_running(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, pod(), pod(restarts=1, waiting="CrashLoopBackOff"), wanted=3, ready=1)
    seen = Kubernetes().check(bot, 2)
    assert seen.state is State.RUNNING
    assert seen.why == "1 of 3 replicas are ready: CrashLoopBackOff, restarted once"


def test_crash_loop_is_stopped_with_its_reason(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, pod(restarts=4, waiting="CrashLoopBackOff", last={"reason": "OOMKilled", "exitCode": 137}))
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.ended) == (State.STOPPED, False)
    assert seen.why == "0 of 1 replicas are ready: CrashLoopBackOff after OOMKilled (code 137), restarted 4 times"
    assert seen.evidence == {
        "replicas": 1,
        "readyReplicas": 0,
        "restartCount": 4,
        "waiting.reason": "CrashLoopBackOff",
        "lastState.reason": "OOMKilled",
        "lastState.exitCode": 137,
    }


def test_terminated_container_is_stopped(cluster: FakeApi, bot: Target) -> None:
    ended = pod()
    ended["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 1}}
    holds(cluster, ended)
    assert Kubernetes().check(bot, 2).state is State.STOPPED


@pytest.mark.parametrize("waiting", ["ContainerCreating", "PodInitializing", ""])
def test_starting_workload_is_unknown(cluster: FakeApi, bot: Target, waiting: str) -> None:
    holds(cluster, pod(waiting=waiting))
    assert Kubernetes().check(bot, 2).state is State.UNKNOWN


def test_exceeded_progress_deadline_is_stopped(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, pod(), late=True)
    assert Kubernetes().check(bot, 2).state is State.STOPPED


def test_workload_without_pods_is_unknown(cluster: FakeApi, bot: Target) -> None:
    holds(cluster)
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.why) == (State.UNKNOWN, "0 of 1 replicas are ready")


def test_workload_scaled_to_zero_has_ended(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, wanted=0)
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.ended, seen.why) == (State.STOPPED, True, "it is scaled to 0")


def test_terminating_pods_do_not_count(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, pod(waiting="CrashLoopBackOff", deletionTimestamp="2026-11-24T10:00:00Z"))
    assert Kubernetes().check(bot, 2).state is State.UNKNOWN


def test_pods_are_found_by_selector(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, ready=1)
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "new", "operator": "Exists"},
    ]
    selector = {"matchLabels": {"app": "bot", "team": "research"}, "matchExpressions": expressions}
    cluster.answers["GET", PATH][1]["spec"]["selector"] = selector
    Kubernetes().check(bot, 2)
    assert cluster.asked[-1].query == {"labelSelector": "app=bot,team=research,tier in (a,b),!old,new"}


def test_forbidden_pod_list_only_hides_the_reason(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, ready=1)
    cluster.answers["GET", PODS] = (403, {"message": "pods is forbidden"})
    assert Kubernetes().check(bot, 2).state is State.RUNNING


def test_unknown_workload_is_missing(bot: Target) -> None:
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.missing) == (State.UNKNOWN, True)


@pytest.mark.parametrize("status", [401, 403])
def test_refusal_names_the_missing_role(cluster: FakeApi, bot: Target, status: int) -> None:
    cluster.answers["GET", PATH] = (status, {"message": "bot is forbidden"})
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.missing) == (State.UNKNOWN, False)
    assert seen.why.startswith("the cluster refuses: bot is forbidden; grant the service account the Role")


@pytest.mark.parametrize("answer", [(500, {"message": "etcd is gone"}), (200, b"<html>"), (200, {}), (200, [])])
def test_malformed_answer_is_unknown(cluster: FakeApi, bot: Target, answer: tuple[int, Any]) -> None:
    cluster.answers["GET", PATH] = answer
    seen = Kubernetes().check(bot, 2)
    assert (seen.state, seen.missing) == (State.UNKNOWN, False)


def test_hanging_cluster_is_unknown_in_time(cluster: FakeApi, bot: Target) -> None:
    cluster.hang = 5
    assert Kubernetes().check(bot, 0.2).why == "the cluster cannot be reached: no answer within 0.2 s"


def test_restart_is_a_rollout_restart(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, ready=1)
    done = Kubernetes().restart(bot, 10)
    assert (done.ok, done.message) == (True, f"rollout restart of {NAME}")
    asked = cluster.asked[-1]
    assert (asked.method, asked.path, asked.headers["Content-Type"]) == ("PATCH", PATH, MERGE)
    annotations = asked.body["spec"]["template"]["metadata"].pop("annotations")
    assert asked.body == {"spec": {"template": {"metadata": {}}}}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", annotations.pop(RESTARTED_AT))
    assert annotations == {}


def test_paused_rollout_is_not_restarted(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, ready=1)
    cluster.answers["GET", PATH][1]["spec"]["paused"] = True
    done = Kubernetes().restart(bot, 10)
    assert (done.ok, cluster.paths("PATCH")) == (False, [])
    assert "kubectl rollout resume" in done.message


def test_stop_scales_to_zero_and_stores_replicas(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, wanted=3, ready=3)
    assert Kubernetes().stop(bot, 10).ok
    assert cluster.asked[-1].body == {
        "metadata": {"annotations": {"clevagent.io/replicas": "3"}},
        "spec": {"replicas": 0},
    }


def test_second_stop_keeps_stored_replicas(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, wanted=0, annotations={"clevagent.io/replicas": "3"})
    assert Kubernetes().stop(bot, 10).ok
    assert cluster.paths("PATCH") == []


@pytest.mark.parametrize(("annotations", "replicas"), [({"clevagent.io/replicas": "3"}, 3), ({}, 1), (None, 1)])
def test_restart_after_a_stop_scales_back(
    cluster: FakeApi, bot: Target, annotations: dict[str, str] | None, replicas: int
) -> None:
    holds(cluster, wanted=0, annotations=annotations)
    assert Kubernetes().restart(bot, 10).message == f"scaled {NAME} to {replicas}"
    assert cluster.asked[-1].body == {
        "metadata": {"annotations": {"clevagent.io/replicas": None}},
        "spec": {"replicas": replicas},
    }


def test_refused_patch_fails(cluster: FakeApi, bot: Target) -> None:
    holds(cluster, ready=1)
    cluster.answers["PATCH", PATH] = (403, {"message": "deployments is forbidden"})
    assert not Kubernetes().restart(bot, 10).ok
    assert not Kubernetes().stop(bot, 10).ok


def test_unreadable_workload_is_not_patched(cluster: FakeApi, bot: Target) -> None:
    assert not Kubernetes().restart(bot, 10).ok
    assert not Kubernetes().stop(bot, 10).ok
    assert cluster.paths("PATCH") == []


def test_statefulset_is_supported(cluster: FakeApi, bot: Target) -> None:
    target = make_target("k8s", "work/statefulset/bot", options=bot.options)
    Kubernetes().check(target, 2)
    assert cluster.paths("GET") == ["/apis/apps/v1/namespaces/work/statefulsets/bot"]


def test_api_is_required_outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "not in a pod; set api" in Kubernetes().validation_error(make_target("k8s", NAME))
    monkeypatch.setenv("CLEVAGENT_KUBERNETES_API", "http://127.0.0.1:8001")
    assert Kubernetes().validation_error(make_target("k8s", NAME)) == ""
    assert "is not an address" in Kubernetes().validation_error(make_target("k8s", NAME, options={"api": "localhost"}))


# In a pod


def certificate(path: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1 and its key into one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(names, critical=False)
    signed = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(signed.public_bytes(pem) + private)
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls") / "both.pem")


@pytest.fixture
def account(tmp_path: Path, authority: Path) -> Path:
    """A service account's folder, as in a pod."""
    (tmp_path / "ca.crt").write_bytes(authority.read_bytes())
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("work")
    return tmp_path


@pytest.fixture
def inside(authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The cluster as seen from a pod."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with FakeApi(wrap=lambda plain: context.wrap_socket(plain, server_side=True)) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        yield api


def test_pod_uses_its_token_and_namespace(inside: FakeApi, account: Path) -> None:
    holds(inside, ready=1)
    kubernetes, target = Kubernetes(account), make_target("k8s", "deployment/bot")
    assert kubernetes.validation_error(target) == ""
    assert kubernetes.check(target, 2).state is State.RUNNING
    assert {asked.headers["Authorization"] for asked in inside.asked} == {"Bearer first"}


def test_rotated_token_is_used_immediately(inside: FakeApi, account: Path) -> None:
    holds(inside, ready=1)
    kubernetes, target = Kubernetes(account), make_target("k8s", NAME)
    kubernetes.check(target, 2)
    (account / "token").write_text("second")
    kubernetes.check(target, 2)
    assert inside.asked[-1].headers["Authorization"] == "Bearer second"


def test_untrusted_server_gets_no_token(inside: FakeApi, account: Path) -> None:
    certificate(account / "ca.crt")
    seen = Kubernetes(account).check(make_target("k8s", NAME), 2)
    assert (seen.state, inside.asked) == (State.UNKNOWN, [])
    assert "certificate verify failed" in seen.why


def test_missing_certificate_prevents_requests(inside: FakeApi, account: Path) -> None:
    (account / "ca.crt").unlink()
    assert "service account cannot be read" in Kubernetes(account).check(make_target("k8s", NAME), 2).why
    assert inside.asked == []


def test_configured_address_gets_no_token(cluster: FakeApi, bot: Target, account: Path) -> None:
    holds(cluster, ready=1)
    Kubernetes(account).check(bot, 2)
    assert all("Authorization" not in asked.headers for asked in cluster.asked)


def test_missing_service_account_is_unknown(inside: FakeApi, tmp_path: Path) -> None:
    seen = Kubernetes(tmp_path / "none").check(make_target("k8s", NAME), 2)
    assert seen.state is State.UNKNOWN
    assert "service account cannot be read: No such file" in seen.why
