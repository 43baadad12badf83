"""Images that stand in for those that cannot be pulled, made of Debian's packages: for `make docker-test` on a machine without a registry.
They are never shipped, and Grafana and celery-exporter have none, for Debian has neither."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.waiting import until

#: Whom this machine trusts, and what its pip goes by: pip in a container needs that as well.
TRUSTED, PIP, PIP_OPTIONS = "etc/ssl/certs/ca-certificates.crt", "etc/pip.conf", ("cert", "index-url", "proxy", "trusted-host")
#: The variables of compose.yaml, and the image for each.
IMAGES = {
    "PYTHON_IMAGE": "standin-python", "STORE_IMAGE": "standin-services", "NGINX_IMAGE": "standin-services",
    "PROMETHEUS_IMAGE": "standin-services",
}  # fmt: skip
#: With the headers of Python, as Docker's own image of it has them.
_PYTHON = """FROM standin-debian
RUN apt-get update && apt-get download "lib$(basename "$(realpath /usr/bin/python3)")-dev" && dpkg -x libpython*.deb /tmp/headers \
    && cp -r /tmp/headers/usr/include /usr/ && rm -rf /tmp/headers libpython*.deb /var/lib/apt/lists/*
"""
_SERVICES = """FROM standin-python
RUN apt-get update && apt-get install -y --no-install-recommends valkey-server nginx-light prometheus wget && rm -rf /var/lib/apt/lists/*
RUN printf '#!/bin/sh\\nchown valkey:valkey /data\\nexec setpriv --reuid=valkey --regid=valkey --clear-groups "$@"\\n' \
    > /usr/local/bin/docker-entrypoint.sh && chmod 755 /usr/local/bin/docker-entrypoint.sh
RUN mkdir -p /data /prometheus && chmod 777 /prometheus
WORKDIR /data
"""


class Engine:
    """A Docker engine: the one that is there, or one of our own in a folder, without any rule of a firewall."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("docker") is None or (os.geteuid() and not self._answers()):
            pytest.skip("there is no Docker engine (Debian, as root: apt install docker.io docker-compose debootstrap)")
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if not self._answers():
            os.environ["DOCKER_HOST"] = f"unix://{folder}/sock"
        if not self._answers():
            options = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
            with (folder / "dockerd.log").open("ab") as log:
                self._process = subprocess.Popen(
                    ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "-H", os.environ["DOCKER_HOST"],
                     *(f"--{name}={folder / path}" for name, path in options.items())],
                    stdout=log, stderr=log,
                )  # fmt: skip
            until(self._answers, "the Docker engine", 120)

    def run(self, *arguments: str, text: str | None = None) -> str:
        """`docker ...`. :return: its standard output."""
        done = subprocess.run(["docker", *arguments], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(60)

    @staticmethod
    def _answers() -> bool:
        return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def build(engine: Engine) -> dict[str, str]:
    """Make them, unless they are there. :return: the variables for compose."""
    if not engine.has("standin-debian"):
        root = engine.folder / "root"
        if not (root / "usr/bin/python3").exists():
            sources = "".join(file.read_text() for file in Path("/etc/apt").rglob("*") if file.suffix in (".sources", ".list"))
            mirror = re.search(r"https?://\S+/debian/?(?=\s)", sources)
            packages = "--include=python3,python3-venv,ca-certificates"
            command = ["debootstrap", "--variant=minbase", packages, "trixie", str(root), *([mirror[0]] if mirror else [])]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.copy(Path("/") / TRUSTED, root / TRUSTED)
        here = ConfigParser(default_section="")
        here.read(Path("/") / PIP)
        options = {name: value for section in here.sections() for name, value in here[section].items() if name in PIP_OPTIONS}
        (root / PIP).write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
        (root / "usr/bin/python").unlink(missing_ok=True)
        (root / "usr/bin/python").symlink_to("python3")
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["docker", "import", "-", "standin-debian"], stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)
    for name, text in (("standin-python", _PYTHON), ("standin-services", _SERVICES)):
        if not engine.has(name):
            engine.run("build", "--network=host", "-t", name, "-", text=text)
    return IMAGES
