"""A real Prometheus for tests, from Debian's package, on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tests.stack import free_port
from tests.waiting import until

PROGRAM = shutil.which("prometheus")


class Prometheus:
    """One, with a folder of its own."""

    def __init__(self, folder: Path, jobs: Mapping[str, Sequence[str]], rules: Sequence[Path]) -> None:
        """:param jobs: addresses by the name of their scrape job, which may have parameters: `api?scope=process`."""
        assert PROGRAM, "Debian: apt install prometheus"
        folder.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "prometheus.json"
        # JSON is YAML.
        config.write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": list(map(str, rules)),
            "scrape_configs": [_job(name, addresses) for name, addresses in jobs.items()],
        }))  # fmt: skip
        self._log = folder / "prometheus.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={self.url[7:]}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        until(lambda: self._answers("/-/ready") or self._died(), "Prometheus")

    def query(self, text: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The value of each series of an instant vector, or of a scalar under `()`.

        :raises AssertionError: Prometheus refuses the query.
        """
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": text}, timeout=60).json()
        assert answer["status"] == "success", (text, answer)
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return {(): float(result[1])}
        return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in result}

    def number(self, text: str) -> float | None:
        """The value of a query of one series; None: it has none."""
        found = self.query(text)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)

    def rules(self) -> list[dict[str, Any]]:
        """Each rule with its health, as Prometheus has evaluated it."""
        groups = requests.get(f"{self.url}/api/v1/rules", timeout=60).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {rule["name"] for rule in self.rules() if rule.get("state") == "firing"}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _answers(self, path: str) -> bool:
        try:
            return requests.get(self.url + path, timeout=5).ok
        except requests.RequestException:
            return False

    def _died(self) -> None:
        assert self._process.poll() is None, self._log.read_text()


def _job(name: str, addresses: Sequence[str]) -> dict[str, Any]:
    name, _, scope = name.partition("?scope=")
    targets = [address.removeprefix("http://") for address in addresses]
    return {"job_name": name, "static_configs": [{"targets": targets}], **({"params": {"scope": [scope]}} if scope else {})}
