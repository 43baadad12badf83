"""Renders the chart by Helm and checks what comes out, in the environment `.venv-chart`: values on standard input, findings on standard
output, both as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/pipeline-jobs"
#: The oldest that the chart takes and the newest whose schemas are there.
VERSIONS = ("1.30", "1.37")
#: Of KEDA's kinds, what we use of them: written by hand from its documentation, for its own schemas are in no package.
KEDA = json.loads((Path(__file__).parent / "keda.json").read_text("utf-8"))


def render(values: dict[str, Any]) -> dict[str, Any]:
    """`{"error": what Helm says}`, or `{"manifests": [...], "invalid": [...], "lint": [...]}`."""
    try:
        texts = helm.Chart.load(str(CHART)).render(values, name="shop", namespace="media")
    except helm.HelmError as error:
        return {"error": str(error)}
    manifests = [one for text in texts.values() for one in yaml.safe_load_all(text) if one]
    lint = [helm.lint(str(CHART), values, strict=True, kube_version=f"v{version}.0") for version in VERSIONS]
    # An icon is recommended: 1 is no finding.
    found = [text for report in lint for text in (*report["errors"], *(one for one in report["messages"] if one["severity"] > 1))]
    return {"manifests": manifests, "invalid": [text for one in manifests for text in faults(one)], "lint": found}


def faults(manifest: dict[str, Any]) -> list[str]:
    """What its schema says is wrong, for each version of Kubernetes; unknown fields are."""
    kind = manifest["kind"]
    if manifest["apiVersion"].startswith("keda.sh/"):
        return [f"{kind}: {error.message}" for error in jsonschema.Draft7Validator(KEDA[kind]).iter_errors(manifest["spec"])]
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except Exception as error:
            found.append(f"{kind} {manifest['metadata']['name']}, {version}: {type(error).__name__} {error}")
    return found


if __name__ == "__main__":
    json.dump([render(values) for values in json.load(sys.stdin)], sys.stdout)
