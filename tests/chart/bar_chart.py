"""The Helm chart: clean by lint, its values by their schema, what it renders valid for two versions of Kubernetes, and as safe as it says.

Apart from `make test`, for Helm and the schemas are 350 MB: `make chart`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs import __version__
from pipeline_jobs.settings import env_names
from pipeline_jobs.web.schemas.scaling import Pool
from tests.task_pages import task

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-chart/bin/python"
BUCKET = {"env": {"PIPELINE_ARTIFACTS_URL": "s3://files"}}
PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
#: The values as they are, and everything turned round.
GOOD: dict[str, dict[str, Any]] = {
    "usual": BUCKET,
    "other": {
        "data": {"claim": "files"},
        "image": {"repository": "registry.example/pipeline-jobs", "digest": "sha256:" + "a" * 64, "pullSecrets": ["pull"]},
        "keda": {"enabled": False},
        "worker": {"minReplicas": 3, "tolerations": [{"key": "gpu", "operator": "Exists"}], "nodeSelector": {"disk": "fast"}},
        "flower": {"enabled": False},
        "networkPolicy": {
            "apiFrom": PEERS, "metricsFrom": PEERS, "storeTo": PEERS, "extraEgress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}],
        },
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "extraEnvFrom": [{"secretRef": {"name": "bucket"}}],
    },
    "open": {**BUCKET, "networkPolicy": {"enabled": False}},
}  # fmt: skip
#: Values that cannot be, and what Helm says of them.
BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "say where files are kept"),
    ({**BUCKET, "api": {"graceSeconds": 30}}, "/api/graceSeconds"),
    ({**BUCKET, "worker": {"slots": 0}}, "/worker/slots"),
    ({**BUCKET, "worker": {"slot": 4}}, "slot"),
    ({**BUCKET, "workers": {}}, "workers"),
    ({**BUCKET, "publicUrl": "api.example.com"}, "/publicUrl"),
    ({**BUCKET, "image": {"digest": "latest"}}, "/image/digest"),
    ({"env": {**BUCKET["env"], "PIPELINE_REDIS_URL": "redis://x"}}, "PIPELINE_REDIS_URL"),
    ({**BUCKET, "worker": {"resources": {"limits": {"memory": None}}}}, "memory"),
)


def answers_to(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Helm makes of each."""
    done = subprocess.run(
        [PYTHON, "-m", "tests.chart.render"], cwd=ROOT, input=json.dumps(values), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, Any]]:
    answers = answers_to([*GOOD.values(), *(value for value, _ in BAD)])
    return {**dict(zip(GOOD, answers, strict=False)), **{f"bad {n}": answer for n, answer in enumerate(answers[len(GOOD) :])}}


@pytest.fixture(params=GOOD)
def kinds(request: pytest.FixtureRequest, rendered: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The manifests by kind and part, of each set of good values."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for one in rendered[request.param]["manifests"]:
        assert one["metadata"]["namespace"] == "media"
        found[one["kind"]][one["metadata"]["name"].removeprefix("shop-")] = one
    return found


def pods(kinds: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each Deployment's part, its pod and its container."""
    for part, one in kinds["Deployment"].items():
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        yield part, pod, container


@pytest.mark.parametrize("name", GOOD)
def test_what_is_rendered_is_valid_and_lint_is_clean(rendered: dict[str, dict[str, Any]], name: str) -> None:
    assert "error" not in rendered[name], rendered[name]["error"]
    assert (rendered[name]["invalid"], rendered[name]["lint"]) == ([], [])


@pytest.mark.parametrize("n", range(len(BAD)))
def test_values_that_cannot_be_are_refused(rendered: dict[str, dict[str, Any]], n: int) -> None:
    assert BAD[n][1] in rendered[f"bad {n}"].get("error", "")


def test_a_broken_manifest_would_be_found() -> None:
    code = "import json; from tests.chart.render import faults; print(json.dumps([faults(one) for one in json.loads(input())]))"
    broken = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"portz": []}},
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "spec": {"scaleTargetRef": {"name": "x"}, "triggers": [{"type": "cpu"}]},
        },
    ]
    done = subprocess.run([PYTHON, "-c", code], cwd=ROOT, input=json.dumps(broken), capture_output=True, text=True, check=True)
    assert [len(found) > 0 for found in json.loads(done.stdout)] == [True, True]


def test_every_pod_is_as_restricted_as_it_can_be(kinds: dict[str, dict[str, Any]]) -> None:
    for part, pod, container in pods(kinds):
        assert pod["enableServiceLinks"] is False, part
        assert pod["securityContext"]["runAsNonRoot"], part
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, part  # fmt: skip
        assert container["resources"]["limits"]["memory"], part
        # Only the pod that runs no job has a key to the cluster.
        assert pod["automountServiceAccountToken"] is (part == "pod-costs"), part
    (rule,) = kinds["Role"]["pod-costs"]["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]}


def test_no_secret_is_in_a_manifest_and_every_setting_is_one(kinds: dict[str, dict[str, Any]]) -> None:
    for part, _, container in pods(kinds):
        for variable in container["env"]:
            name = variable["name"]
            assert name in env_names() or name == "POD_SELECTOR", (part, name)
            secret = name in ("PIPELINE_REDIS_URL", "PIPELINE_SECRET_KEY", "PIPELINE_FLOWER_PASSWORD")
            assert ("valueFrom" in variable) is secret, (part, name)
    assert not kinds["Secret"]


def test_a_selector_finds_the_pods_of_its_part_and_no_others(kinds: dict[str, dict[str, Any]]) -> None:
    for part, one in kinds["Deployment"].items():
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"] == part
        selectors = [one["spec"]["selector"]["matchLabels"]]
        selectors += [kinds["PodDisruptionBudget"][part]["spec"]["selector"]["matchLabels"]] if part in kinds["PodDisruptionBudget"] else []
        selectors += [kinds["Service"][part]["spec"]["selector"]] if part in kinds["Service"] else []
        assert all(selector == labels for selector in selectors), part
        if part == "worker":
            (costs,) = kinds["Deployment"]["pod-costs"]["spec"]["template"]["spec"]["containers"]
            (selector,) = [one["value"] for one in costs["env"] if one["name"] == "POD_SELECTOR"]
            assert dict(pair.split("=") for pair in selector.split(",")).items() <= labels.items()
    assert set(kinds["PodDisruptionBudget"]) == {"api", "worker", "maintenance"}


def test_the_api_goes_when_nobody_asks_it_any_more(kinds: dict[str, dict[str, Any]]) -> None:
    pod = kinds["Deployment"]["api"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    # gunicorn waits as long for the requests that it has: PIPELINE_RUN_TIMEOUT_SECONDS and 5 s.
    assert wait + 60 + 5 < pod["terminationGracePeriodSeconds"] == 75
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/accept"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert kinds["Deployment"]["api"]["spec"]["replicas"] == 2


def test_the_workers_are_as_many_as_the_endpoint_wants(rendered: dict[str, dict[str, Any]], kinds: dict[str, dict[str, Any]]) -> None:
    worker = kinds["Deployment"]["worker"]["spec"]
    (container,) = worker["template"]["spec"]["containers"]
    command, env = container["command"], {one["name"]: one.get("value") for one in container["env"]}
    assert {"jobs@jobs-%h", "--autoscale=4,1"} <= set(command), "pod_costs finds the pod in the worker's name"
    assert env["PIPELINE_MAX_CONCURRENT_JOBS"] == "20"
    if "ScaledObject" not in kinds:
        assert worker["replicas"] == 3
        return
    assert "replicas" not in worker, "a new release would make them as many again"
    scaled = kinds["ScaledObject"]["worker"]["spec"]
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["valueLocation"] in Pool.model_fields
    assert trigger["metadata"]["targetValue"] == re.findall(r"--autoscale=(\d+)", " ".join(command))[0]
    assert trigger["metadata"]["url"] == "http://shop-api.media.svc:8000/pipeline/scaling?pool=default"
    assert scaled["maxReplicaCount"] * 4 == 20
    assert scaled["scaleTargetRef"]["name"] == kinds["Deployment"]["worker"]["metadata"]["name"]


def test_there_is_one_exporter_and_flower_asks_for_a_password(kinds: dict[str, dict[str, Any]]) -> None:
    assert kinds["Deployment"]["exporter"]["spec"]["replicas"] == 1
    assert kinds["Deployment"]["exporter"]["spec"]["strategy"] == {"type": "Recreate"}
    for part, _, container in pods(kinds):
        if part == "flower":
            names = {one["name"]: one for one in container["env"]}
            assert names["PIPELINE_FLOWER_PASSWORD"]["valueFrom"]["secretKeyRef"]["key"] == "flower-password"
            assert "FLOWER_UNAUTHENTICATED_API" not in names


def test_nobody_reaches_a_worker_and_a_worker_reaches_no_private_address(rendered: dict[str, dict[str, Any]]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in rendered["usual"]["manifests"] if one["kind"] == "NetworkPolicy"}
    assert policies["shop-all"]["ingress"] == []
    assert set(policies["shop-all"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "app.kubernetes.io/component" not in policies["shop-all"]["podSelector"]["matchLabels"]
    blocks = [peer["ipBlock"] for peer in policies["shop-internet"]["egress"][0]["to"]]
    assert {"10.0.0.0/8", "169.254.0.0/16", "fc00::/7"} <= {one for block in blocks for one in block["except"]}
    assert policies["shop-metrics"]["ingress"] == [], "unless it is said who scrapes"
    other = {one["metadata"]["name"]: one["spec"] for one in rendered["other"]["manifests"] if one["kind"] == "NetworkPolicy"}
    assert other["shop-metrics"]["ingress"][0]["from"] == PEERS
    assert [one for one in rendered["open"]["manifests"] if one["kind"] == "NetworkPolicy"] == []


def test_the_image_is_this_versions_or_a_digest(rendered: dict[str, dict[str, Any]]) -> None:
    def images(name: str) -> set[str]:
        return {
            one["spec"]["template"]["spec"]["containers"][0]["image"] for one in rendered[name]["manifests"] if one["kind"] == "Deployment"
        }

    assert images("usual") == {f"pipeline-jobs:{__version__}"}
    assert images("other") == {"registry.example/pipeline-jobs@sha256:" + "a" * 64}


def given(command: str) -> dict[str, Any]:
    """The values that a command of Helm's sets."""
    values: dict[str, Any] = {}
    for path, text in re.findall(r"--set (\S+?)=(\S+)", command):
        *outer, last = path.split(".")
        place = values
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = {"true": True, "false": False}.get(text, text)
    return values


def test_the_page_installs_what_there_is_with_a_secret_that_has_all() -> None:
    page = task("deploy", "On Kubernetes")
    secret, install, key, upgrade = page.steps[0].splitlines()
    first = given(install)
    then = {**first, **given(upgrade)}
    literals = set(re.findall(r"--from-literal=([\w-]+)=", secret))
    for answer in answers_to([first, then]):
        assert (answer.get("error"), answer["invalid"], answer["lint"]) == (None, [], [])
        refers = re.findall(
            r'"secretKeyRef": {"key": "([\w-]+)", "name": "pipeline-jobs"}', json.dumps(answer["manifests"], sort_keys=True)
        )
        assert set(refers) <= literals
        assert refers
        named = {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in answer["manifests"]}
        assert {line.split()[2].replace("deploy/", "deployment/") for line in (key, page.worked[0])} <= named
    assert page.undo[0].split() == ["helm", "uninstall", install.split()[2]]
