"""Kubernetes: `NAMESPACE/deployment/NAME`, or `deployment/NAME` in the runner's own namespace; or `statefulset`.

In a pod, it uses the pod's service account and reads the token for every request, because it is rotated. Elsewhere,
`api` or CLEVAGENT_KUBERNETES_API names an address, such as `http://127.0.0.1:8001` of `kubectl proxy`; no token is sent
there. The account needs `get` and `patch` on the workload, and `list` on pods to say why it is down.

A restart is a rollout restart; it succeeds once the cluster accepts it. A stop scales to 0 and stores the number of
replicas in an annotation; the next restart scales back to it.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from ..target import Target
from .base import Evidence, Observation, Outcome, State
from .rest import Reply, ask

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KINDS = {"deployment": "deployments", "statefulset": "statefulsets"}
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# The annotation that kubectl uses: a new value replaces all pods.
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
REPLICAS = "clevagent.io/replicas"
MERGE = "application/strategic-merge-patch+json"
# Reasons for which a starting pod waits. Any other reason is a failure.
STARTING_REASONS = ("ContainerCreating", "PodInitializing", "")
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"


class Kubernetes:
    """`account` is the folder of the service account."""

    KIND = "k8s"
    OPTIONS = ("api",)

    def __init__(self, account: Path = ACCOUNT) -> None:
        self._account = account

    def validation_error(self, target: Target) -> str:
        kind, names = self._parts(target)[1], [part for part in self._parts(target) if part != ""]
        if kind not in KINDS or len(names) != 3 or not all(NAME.fullmatch(name) for name in names):
            return f"{target}: write k8s:NAMESPACE/deployment/NAME or k8s:deployment/NAME (or statefulset)"
        try:
            self._cluster(target, 1)
        except ValueError as error:
            return f"{target}: {error}"
        return ""

    def check(self, target: Target, timeout: float) -> Observation:
        cluster = self._cluster(target, timeout)
        reply = cluster.ask("GET", self._path(target))
        if reply.status == 404:
            return Observation(State.UNKNOWN, why=f"the cluster has no {target.name}", missing=True)
        if not reply.accepted or "spec" not in reply.fields:
            return Observation(State.UNKNOWN, why=_problem(reply))
        workload = Workload(reply.fields)
        return workload.seen(self._pods(cluster, target, workload))

    def restart(self, target: Target, timeout: float) -> Outcome:
        cluster = self._cluster(target, timeout)
        reply = cluster.ask("GET", self._path(target))
        if not reply.accepted:
            return Outcome(False, _problem(reply))
        workload = Workload(reply.fields)
        if workload.is_paused:
            return Outcome(False, f"the rollout of {target.name} is paused; resume it with kubectl rollout resume")
        if not workload.wanted:
            return self._scale(cluster, target, workload.remembered, None)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        template = {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}
        reply = cluster.patch(self._path(target), {"spec": template})
        return Outcome(reply.accepted, f"rollout restart of {target.name}" if reply.accepted else _problem(reply))

    def stop(self, target: Target, timeout: float) -> Outcome:
        cluster = self._cluster(target, timeout)
        reply = cluster.ask("GET", self._path(target))
        if not reply.accepted:
            return Outcome(False, _problem(reply))
        wanted = Workload(reply.fields).wanted
        if not wanted:
            return Outcome(True, f"{target.name} is already scaled to 0")
        return self._scale(cluster, target, 0, str(wanted))

    def _scale(self, cluster: Cluster, target: Target, replicas: int, remembered: str | None) -> Outcome:
        body = {"metadata": {"annotations": {REPLICAS: remembered}}, "spec": {"replicas": replicas}}
        reply = cluster.patch(self._path(target), body)
        return Outcome(reply.accepted, f"scaled {target.name} to {replicas}" if reply.accepted else _problem(reply))

    def _pods(self, cluster: Cluster, target: Target, workload: Workload) -> list[Mapping[str, Any]]:
        """Return the pods its selector matches; none if listing them is not permitted."""
        namespace = self._parts(target)[0]
        query = urlencode({"labelSelector": workload.selector})
        items = cluster.ask("GET", f"/api/v1/namespaces/{quote(namespace)}/pods?{query}").fields.get("items")
        pods = [pod for pod in items if isinstance(pod, dict)] if isinstance(items, list) else []
        return [pod for pod in pods if "deletionTimestamp" not in _object(pod, "metadata")]

    def _path(self, target: Target) -> str:
        namespace, kind, name = (quote(part, safe="") for part in self._parts(target))
        return f"/apis/apps/v1/namespaces/{namespace}/{KINDS.get(kind, kind)}/{name}"

    def _parts(self, target: Target) -> tuple[str, str, str]:
        """Return namespace, kind and name. The default namespace is the runner's own."""
        parts = target.name.split("/")
        if len(parts) == 2:
            parts = [self._own_namespace(), *parts]
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", "")

    def _own_namespace(self) -> str:
        try:
            return (self._account / "namespace").read_text().strip() or "default"
        except OSError:
            return "default"

    def _cluster(self, target: Target, timeout: float) -> Cluster:
        """Raises ValueError if no cluster is configured."""
        api = str(target.options.get("api") or os.environ.get("CLEVAGENT_KUBERNETES_API") or "")
        if api:
            url = urlsplit(api)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError(f'{api} is not an address; write api = "http://127.0.0.1:8001"')
            return Cluster(url, None, timeout)
        host = os.environ.get("KUBERNETES_SERVICE_HOST")
        if not host:
            raise ValueError(
                "not in a pod; set api to the cluster's address, such as kubectl proxy's http://127.0.0.1:8001"
            )
        host = f"[{host}]" if ":" in host else host
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return Cluster(urlsplit(f"https://{host}:{port}"), self._account, timeout)


@dataclass(frozen=True)
class Cluster:
    """The API's address and the service account's folder."""

    url: SplitResult
    account: Path | None
    timeout: float

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Reply:
        headers = {"Accept": "application/json", "Content-Type": kind}
        try:
            if self.account:
                headers["Authorization"] = f"Bearer {(self.account / 'token').read_text().strip()}"
            connection = self._connect()
        except OSError as error:
            return Reply(0, problem=f"the service account cannot be read: {error.strerror or error}")
        return ask(connection, method, self.url.path.rstrip("/") + path, body, headers)

    def patch(self, path: str, body: Mapping[str, Any]) -> Reply:
        return self.ask("PATCH", path, body, MERGE)

    def _connect(self) -> http.client.HTTPConnection:
        host = self.url.hostname or ""
        if self.url.scheme == "http":
            return http.client.HTTPConnection(host, self.url.port, timeout=self.timeout)
        context = ssl.create_default_context(cafile=str(self.account / "ca.crt") if self.account else None)
        return http.client.HTTPSConnection(host, self.url.port, timeout=self.timeout, context=context)


class Workload:
    """A Deployment or StatefulSet. Any field may be missing."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._annotations = _object(_object(data, "metadata"), "annotations")
        self._spec, self._status = _object(data, "spec"), _object(data, "status")

    @property
    def wanted(self) -> int:
        return _count(self._spec.get("replicas"), 1)

    @property
    def ready(self) -> int:
        return _count(self._status.get("readyReplicas"), 0)

    @property
    def remembered(self) -> int:
        """The number of replicas before the runner scaled it to 0."""
        text = str(self._annotations.get(REPLICAS, ""))
        return int(text) if text.isdigit() and int(text) else 1

    @property
    def is_paused(self) -> bool:
        return bool(self._spec.get("paused"))

    @property
    def selector(self) -> str:
        selector = _object(self._spec, "selector")
        labels = [f"{name}={value}" for name, value in _object(selector, "matchLabels").items()]
        return ",".join([*labels, *(_expression(each) for each in selector.get("matchExpressions") or [])])

    @property
    def is_late(self) -> bool:
        """Whether Kubernetes itself has given up waiting for the pods."""
        conditions = self._status.get("conditions") or []
        return any(each.get("reason") == DEADLINE_EXCEEDED for each in conditions if isinstance(each, dict))

    def seen(self, pods: Sequence[Mapping[str, Any]]) -> Observation:
        containers = [each for pod in pods for each in _containers(pod)]
        evidence: Evidence = {"replicas": self.wanted, "readyReplicas": self.ready, **_evidence(containers)}
        if not self.wanted:
            return Observation(State.STOPPED, evidence, "it is scaled to 0", ended=True)
        why = "" if self.ready >= self.wanted else _why(self.ready, self.wanted, evidence)
        if self.ready:
            return Observation(State.RUNNING, evidence, why)
        failed = self.is_late or any(_has_failed(each) for each in containers)
        return Observation(State.STOPPED if failed else State.UNKNOWN, evidence, why)


def _evidence(containers: Sequence[Mapping[str, Any]]) -> Evidence:
    """Return the total of restarts, and the errors of the container with the most."""
    if not containers:
        return {}
    restarts = [_count(each.get("restartCount"), 0) for each in containers]
    worst = containers[restarts.index(max(restarts))]
    waiting = next((_waits(each) for each in containers if _waits(each)), "")
    ended = _object(_object(worst, "lastState"), "terminated")
    facts = {
        "waiting.reason": waiting,
        "lastState.reason": ended.get("reason"),
        "lastState.exitCode": ended.get("exitCode"),
    }
    known = {name: fact for name, fact in facts.items() if fact not in (None, "")}
    return {"restartCount": sum(restarts), **known}


def _why(ready: int, wanted: int, evidence: Evidence) -> str:
    """Return a phrase: "0 of 1 replicas are ready: CrashLoopBackOff after OOMKilled (code 137), restarted once"."""
    text = f"{ready} of {wanted} replicas are ready"
    waiting, last, code = (evidence.get(name) for name in ("waiting.reason", "lastState.reason", "lastState.exitCode"))
    text += f": {waiting}" if waiting else ""
    text += f" after {last}" + (f" (code {code})" if code is not None else "") if waiting and last else ""
    times = evidence.get("restartCount")
    return f"{text}, restarted {'once' if times == 1 else f'{times} times'}" if times else text


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    statuses = _object(pod, "status").get("containerStatuses")
    return [each for each in statuses if isinstance(each, dict)] if isinstance(statuses, list) else []


def _waits(container: Mapping[str, Any]) -> str:
    return str(_object(_object(container, "state"), "waiting").get("reason") or "")


def _has_failed(container: Mapping[str, Any]) -> bool:
    return "terminated" in _object(container, "state") or _waits(container) not in STARTING_REASONS


def _expression(expression: Mapping[str, Any]) -> str:
    """Return a selector's expression as a query parameter."""
    key, operator, values = expression.get("key"), expression.get("operator"), ",".join(expression.get("values") or [])
    if operator == "Exists":
        return f"{key}"
    return f"!{key}" if operator == "DoesNotExist" else f"{key} {str(operator).lower()} ({values})"


def _problem(reply: Reply) -> str:
    if reply.status in (401, 403):
        return f"the cluster refuses: {reply.problem}; grant the service account the Role in docs/runner.md"
    return f"the cluster {'answered' if reply.status else 'cannot be reached'}: {reply.problem}"


def _object(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = data.get(name)
    return inner if isinstance(inner, dict) else {}


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


BACKEND = Kubernetes()
