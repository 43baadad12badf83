"""`python -m tests.siege`: eighteen attacks, one after another, each in alternations of calm and attack; B's answers are timed in both.

The bar: beside the attack B's p99 is at most three times that of its calm neighbour, or 60 ms; nobody is answered 5xx; no process ends;
the store's memory stays within its limit. `--write` puts the table into `docs/security.md`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.siege import attacks
from tests.siege.attacker import SOURCE
from tests.siege.ground import STORE_BYTES, Ground, ground
from tests.siege.victim import KINDS, Victim, p99

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- siege: written by `make siege` -->", "<!-- end of siege -->"
OTHER_SOURCE = "127.0.0.2"
#: What B may take in any case, in ms, and how many times as long as in the calm.
ALLOWED_MS, ALLOWED_TIMES = 60.0, 3.0
NAMES = tuple(module.name for module in pkgutil.iter_modules(attacks.__path__))


@dataclass(slots=True)
class Outcome:
    """What an attack did: p99 in ms by kind of request, beside the calm and the attack."""

    name: str
    title: str
    line: str
    calm: dict[str, float] = field(default_factory=dict)
    attack: dict[str, float] = field(default_factory=dict)
    #: B's answers, and the attackers', by status.
    ours: Counter[str] = field(default_factory=Counter)
    theirs: Counter[str] = field(default_factory=Counter)
    ended: list[str] = field(default_factory=list)
    peak: int = 0

    def wrong(self) -> list[str]:
        """What is not as the bar has it."""
        found = [
            f"{kind} {self.attack[kind]:.0f} ms" for kind in KINDS if self.attack[kind] > max(ALLOWED_MS, ALLOWED_TIMES * self.calm[kind])
        ]
        if others := {status: count for status, count in self.ours.items() if status not in ("200", "201", "204")}:
            found.append(f"B was answered {others}")
        if failed := {status: count for status, count in self.theirs.items() if status.startswith("5")}:
            found.append(f"the attackers were answered {failed}")
        found += [f"{name} ended" for name in self.ended]
        return [*found, "the store is over its limit"] if self.peak > STORE_BYTES else found


@contextmanager
def attacked(at: Ground, name: str, statuses: Counter[str]) -> Iterator[None]:
    """The attackers are at work in the block."""
    command = [sys.executable, "-m", "tests.siege.attacker", name, at.url, at.attacker_key]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()
            statuses.update(json.loads(process.stdout.readline() or "{}"))


def lay(at: Ground, name: str, seconds: float, rounds: int) -> Outcome:
    """Siege by one attack."""
    module = importlib.import_module(f"tests.siege.attacks.{name}")
    outcome = Outcome(name, module.TITLE, module.LINE)
    source = SOURCE if getattr(module, "SHARES_ADDRESS", False) else OTHER_SOURCE
    calm, beside = (Victim(at.url, at.victim_key, source) for _ in range(2))
    at.peak = 0
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(at, over))
    watcher.start()
    try:
        for _ in range(rounds):
            calm.live(seconds)
            with attacked(at, name, outcome.theirs):
                beside.live(seconds)
            at.clear()
    finally:
        over.set()
        watcher.join()
        calm.close()
        beside.close()
    outcome.calm = {kind: p99(calm.times[kind]) for kind in KINDS}
    outcome.attack = {kind: p99(beside.times[kind]) for kind in KINDS}
    outcome.ours, outcome.ended, outcome.peak = calm.statuses + beside.statuses, at.ended(), at.peak
    return outcome


def _watch(at: Ground, over: threading.Event) -> None:
    while not over.wait(0.2):
        at.look_at_memory()


def table(outcomes: Sequence[Outcome], seconds: float, rounds: int) -> str:
    """For the page."""
    columns = ("attack", "wall", *(kind.upper() if kind in ("post", "get") else kind for kind in KINDS))
    columns += ("5xx to B / attackers", "ended", "store, MB", "bar")
    head = f"{rounds} alternations of {seconds:g} s calm and {seconds:g} s attack; times are B's p99 in ms, calm / attack.\n\n"
    head += f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(_row(outcome) for outcome in outcomes)


def _row(outcome: Outcome) -> str:
    times = " | ".join(f"{outcome.calm[kind]:.0f} / {outcome.attack[kind]:.0f}" for kind in KINDS)
    fives = " / ".join(
        str(sum(count for status, count in statuses.items() if status.startswith("5"))) for statuses in (outcome.ours, outcome.theirs)
    )
    verdict = "; ".join(outcome.wrong()) or "held"
    return f"| {outcome.title} | {outcome.line} | {times} | {fives} | {len(outcome.ended)} | {outcome.peak / 2**20:.0f} | {verdict} |\n"


def write(text: str) -> None:
    """Between the marks of the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.siege", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *NAMES], metavar="ATTACK", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=float, default=30, help="of each calm and each attack")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/security.md")
    given: Any = parser.parse_args(arguments)
    outcomes = []
    for name in given.only or NAMES:
        # A stack of its own: what one attack leaves is no calm for the next.
        with tempfile.TemporaryDirectory(prefix="siege-") as folder, ground(Path(folder)) as at:
            outcomes.append(lay(at, name, given.seconds, given.rounds))
        print(_row(outcomes[-1]), dict(outcomes[-1].ours), dict(outcomes[-1].theirs), flush=True)
    text = table(outcomes, given.seconds, given.rounds)
    print(text)
    if given.write:
        write(text)
    return int(any(outcome.wrong() for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
