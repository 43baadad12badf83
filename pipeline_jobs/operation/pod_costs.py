"""Tells Kubernetes which pods of workers to end first. `python -m pipeline_jobs.operation.pod_costs` writes how many jobs each runs into
its annotation `controller.kubernetes.io/pod-deletion-cost`: when a Deployment becomes smaller, pods of the lowest cost go.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost

One process does it for all pods, and no worker: in those run the media of tenants, which must find no key to the cluster. It is a hint, a
few seconds old: a pod that has just got its first job may go. It gives the job back, and another worker goes on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import requests
import structlog

from pipeline_jobs import logs
from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.operation.scaling import busy_by_host
from pipeline_jobs.settings import load_settings
from pipeline_jobs.store.figures import workers
from pipeline_jobs.store.store import Store, connect

logger = structlog.get_logger(__name__)

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
#: Where Kubernetes puts the key of a pod's account.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Between two looks, and how long an answer of Kubernetes is waited for, in seconds.
SECONDS, TIMEOUT_SECONDS = 2.0, 10.0


class Pods:
    """The pods of workers, as the API of Kubernetes shows them."""

    def __init__(self, url: str, account: Path, selector: str) -> None:
        """:param selector: labels of the workers' pods: `app.kubernetes.io/component=worker,...`."""
        namespace = (account / "namespace").read_text().strip()
        self._url, self._account, self._selector = f"{url}/api/v1/namespaces/{namespace}/pods", account, selector
        self._session = requests.Session()
        # A proxy that the environment names must not get the key.
        self._session.trust_env = False
        self._session.verify = str(account / "ca.crt")

    def costs(self) -> dict[str, str]:
        """What each pod's annotation says; empty: it has none. :raises requests.RequestException:"""
        found = self._ask("GET", self._url, params={"labelSelector": self._selector}).json()["items"]
        return {pod["metadata"]["name"]: pod["metadata"].get("annotations", {}).get(ANNOTATION, "") for pod in found}

    def set_cost(self, pod: str, cost: str) -> None:
        """:raises requests.RequestException:"""
        self._ask("PATCH", f"{self._url}/{pod}", json={"metadata": {"annotations": {ANNOTATION: cost}}})

    def _ask(self, method: str, url: str, **request: object) -> requests.Response:
        # Kubernetes renews the key in its file.
        headers = {"Authorization": f"Bearer {(self._account / 'token').read_text().strip()}"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        answer = self._session.request(method, url, headers=headers, timeout=TIMEOUT_SECONDS, **request)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer


def publish(pods: Pods, jobs: Mapping[str, int]) -> int:
    """Write the costs that have changed. :return: how many.

    :param jobs: running jobs by pod.
    :raises requests.RequestException:
    """
    changed = {pod: cost for pod, said in pods.costs().items() if (cost := str(jobs.get(pod, 0))) != (said or "0")}
    for pod, cost in changed.items():
        pods.set_cost(pod, cost)
    return len(changed)


def main() -> int:
    """Go on until SIGTERM or SIGINT. :return: 2 if a setting is wrong, or it does not run in Kubernetes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        logs.configure(settings.log_format)
        logs.take_over()
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        pods = Pods(f"https://{f'[{host}]' if ':' in host else host}:{port}", ACCOUNT, os.environ["POD_SELECTOR"])
    except (ConfigurationError, KeyError, OSError) as error:
        sys.stderr.write(f"Error: {error!r}\n")
        return 2
    store = Store(connect(settings.redis_url), settings)
    while not stop.wait(SECONDS):
        try:
            publish(pods, busy_by_host(workers(store).running))
        except (StoreUnavailable, requests.RequestException) as error:
            logger.warning("the costs of pods were not written", seldom=True, error=str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
