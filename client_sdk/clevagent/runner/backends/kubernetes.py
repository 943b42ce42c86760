"""Kubernetes: `NAMESPACE/deployment/NAME`, or `deployment/NAME` in the runner's own namespace; `statefulset` alike.

In a pod it asks the cluster with the pod's service account, whose token is read anew each time, since it is renewed.
Elsewhere `api`, or CLEVAGENT_KUBERNETES_API, names an address, such as `http://127.0.0.1:8001` of `kubectl proxy`; no
token is sent there. The account needs `get` and `patch` on the Deployment, and `list` on pods to say why it is down.

A restart is a rollout restart: it is done when the cluster has taken it, and goes on by itself. A stop scales to 0 and
notes the number in an annotation, to which the next restart scales back.
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
# What kubectl itself writes: a new value makes new pods.
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
REPLICAS = "clevagent.io/replicas"
MERGE = "application/strategic-merge-patch+json"
# A pod that waits for one of these is on its way; for anything else it has failed.
ON_ITS_WAY = ("ContainerCreating", "PodInitializing", "")
LATE = "ProgressDeadlineExceeded"


class Kubernetes:
    """`account` is the folder of the service account."""

    KIND = "k8s"
    OPTIONS = ("api",)

    def __init__(self, account: Path = ACCOUNT) -> None:
        self._account = account

    def complaint(self, target: Target) -> str:
        kind, names = self._parts(target)[1], [part for part in self._parts(target) if part != ""]
        if kind not in KINDS or len(names) != 3 or not all(NAME.fullmatch(name) for name in names):
            return f"{target}: write k8s:NAMESPACE/deployment/NAME, k8s:deployment/NAME or the same with statefulset"
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
            return Observation(State.UNKNOWN, why=_trouble(reply))
        workload = Workload(reply.fields)
        return workload.seen(self._pods(cluster, target, workload))

    def restart(self, target: Target, timeout: float) -> Outcome:
        cluster = self._cluster(target, timeout)
        reply = cluster.ask("GET", self._path(target))
        if not reply.accepted:
            return Outcome(False, _trouble(reply))
        workload = Workload(reply.fields)
        if workload.is_paused:
            return Outcome(False, f"the rollout of {target.name} is paused: kubectl rollout resume it")
        if not workload.wanted:
            return self._scale(cluster, target, workload.remembered, None)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        template = {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}
        reply = cluster.patch(self._path(target), {"spec": template})
        return Outcome(reply.accepted, f"rollout restart of {target.name}" if reply.accepted else _trouble(reply))

    def stop(self, target: Target, timeout: float) -> Outcome:
        cluster = self._cluster(target, timeout)
        reply = cluster.ask("GET", self._path(target))
        if not reply.accepted:
            return Outcome(False, _trouble(reply))
        wanted = Workload(reply.fields).wanted
        if not wanted:
            return Outcome(True, f"{target.name} is scaled to 0 already")
        return self._scale(cluster, target, 0, str(wanted))

    def _scale(self, cluster: Cluster, target: Target, replicas: int, remembered: str | None) -> Outcome:
        body = {"metadata": {"annotations": {REPLICAS: remembered}}, "spec": {"replicas": replicas}}
        reply = cluster.patch(self._path(target), body)
        return Outcome(reply.accepted, f"scaled {target.name} to {replicas}" if reply.accepted else _trouble(reply))

    def _pods(self, cluster: Cluster, target: Target, workload: Workload) -> list[Mapping[str, Any]]:
        """Those that its selector finds; none when that may not be asked."""
        namespace = self._parts(target)[0]
        query = urlencode({"labelSelector": workload.selector})
        found = cluster.ask("GET", f"/api/v1/namespaces/{quote(namespace)}/pods?{query}").fields.get("items")
        pods = [pod for pod in found if isinstance(pod, dict)] if isinstance(found, list) else []
        return [pod for pod in pods if "deletionTimestamp" not in _object(pod, "metadata")]

    def _path(self, target: Target) -> str:
        namespace, kind, name = (quote(part, safe="") for part in self._parts(target))
        return f"/apis/apps/v1/namespaces/{namespace}/{KINDS.get(kind, kind)}/{name}"

    def _parts(self, target: Target) -> tuple[str, str, str]:
        """Namespace, kind and name; the namespace is the runner's own where none is given."""
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
        """Raises ValueError, with what to set, when no cluster is named."""
        api = str(target.options.get("api") or os.environ.get("CLEVAGENT_KUBERNETES_API") or "")
        if api:
            url = urlsplit(api)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError(f'{api} is no address; write api = "http://127.0.0.1:8001"')
            return Cluster(url, None, timeout)
        host = os.environ.get("KUBERNETES_SERVICE_HOST")
        if not host:
            raise ValueError("this is no pod; name the cluster by api, such as http://127.0.0.1:8001 of kubectl proxy")
        host = f"[{host}]" if ":" in host else host
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return Cluster(urlsplit(f"https://{host}:{port}"), self._account, timeout)


@dataclass(frozen=True)
class Cluster:
    """The API's address, and the folder of the service account that it is asked with."""

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
            return Reply(0, trouble=f"the service account cannot be read: {error.strerror or error}")
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
    """A Deployment or StatefulSet, read with nothing taken for granted."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._annotations = _object(_object(found, "metadata"), "annotations")
        self._spec, self._status = _object(found, "spec"), _object(found, "status")

    @property
    def wanted(self) -> int:
        return _count(self._spec.get("replicas"), 1)

    @property
    def ready(self) -> int:
        return _count(self._status.get("readyReplicas"), 0)

    @property
    def remembered(self) -> int:
        """How many there were before a stop of ours."""
        text = str(self._annotations.get(REPLICAS, ""))
        return int(text) if text.isdigit() and int(text) else 1

    @property
    def is_paused(self) -> bool:
        return bool(self._spec.get("paused"))

    @property
    def selector(self) -> str:
        found = _object(self._spec, "selector")
        labels = [f"{name}={value}" for name, value in _object(found, "matchLabels").items()]
        return ",".join([*labels, *(_expression(each) for each in found.get("matchExpressions") or [])])

    @property
    def is_late(self) -> bool:
        """Whether Kubernetes itself has given up waiting for its pods."""
        conditions = self._status.get("conditions") or []
        return any(each.get("reason") == LATE for each in conditions if isinstance(each, dict))

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
    """The restarts of all, and of what went wrong the worst container's."""
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
    """One sentence part: "0 of 1 replicas are ready: CrashLoopBackOff after OOMKilled (code 137), restarted once"."""
    said = f"{ready} of {wanted} replicas are ready"
    waiting, last, code = (evidence.get(name) for name in ("waiting.reason", "lastState.reason", "lastState.exitCode"))
    said += f": {waiting}" if waiting else ""
    said += f" after {last}" + (f" (code {code})" if code is not None else "") if waiting and last else ""
    times = evidence.get("restartCount")
    return f"{said}, restarted {'once' if times == 1 else f'{times} times'}" if times else said


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = _object(pod, "status").get("containerStatuses")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _waits(container: Mapping[str, Any]) -> str:
    return str(_object(_object(container, "state"), "waiting").get("reason") or "")


def _has_failed(container: Mapping[str, Any]) -> bool:
    return "terminated" in _object(container, "state") or _waits(container) not in ON_ITS_WAY


def _expression(found: Mapping[str, Any]) -> str:
    """A selector's expression as a query has it."""
    key, operator, values = found.get("key"), found.get("operator"), ",".join(found.get("values") or [])
    if operator == "Exists":
        return f"{key}"
    return f"!{key}" if operator == "DoesNotExist" else f"{key} {str(operator).lower()} ({values})"


def _trouble(reply: Reply) -> str:
    if reply.status in (401, 403):
        return f"the cluster refuses: {reply.trouble}; give the service account the Role of docs/runner.md"
    return f"the cluster answered: {reply.trouble}" if reply.status else f"the cluster cannot be asked: {reply.trouble}"


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = found.get(name)
    return inner if isinstance(inner, dict) else {}


def _count(found: Any, otherwise: int) -> int:
    return found if isinstance(found, int) else otherwise


BACKEND = Kubernetes()
