"""docs/runbooks.md as the tests read it: what to do about each alert, and the commands that do it."""

from __future__ import annotations

import re

from tests.hands import Hands
from tests.prometheus import Prometheus
from tests.stack import ROOT, Stack
from tests.waiting import until

SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
#: Commands; what they are about, where an alert has several causes, is their first line: `# beat_away`.
COMMANDS = re.compile(r"^```bash\n(?:# (\w+)\n)?(.*?)^```", re.MULTILINE | re.DOTALL)
#: Within which a condition must show, and within which it must have ended after the steps, in seconds.
SECONDS, ENDS_SECONDS = 60, 180


def runbooks() -> dict[str, str]:
    """The text of each, by the name of its alert."""
    return dict(SECTION.findall((ROOT / "docs/runbooks.md").read_text("utf-8")))


def steps(alert: str) -> dict[str, str]:
    """The commands of a runbook, by what they are about."""
    return dict(COMMANDS.findall(runbooks()[alert]))


class Operator(Hands):
    """Somebody who does what the runbooks say."""

    def __init__(self, stack: Stack, alerts: Prometheus) -> None:
        super().__init__(stack)
        self._alerts = alerts

    def follow(self, alert: str, about: str = "", **given: str) -> None:
        """Wait until an alert fires, take the steps of its runbook, and wait until it is silent.

        :param about: which of its causes. :param given: what the runbook has in capitals.
        """
        until(lambda: alert in self._alerts.firing(), f"{alert} to fire", SECONDS)
        typed = self.take(steps(alert)[about], **given)

        def silent() -> bool:
            self.stack.reap()
            typed.check()
            return alert not in self._alerts.firing()

        until(silent, f"{alert} to be silent after the steps of its runbook", ENDS_SECONDS)
        print(f"{alert}{about and ' '}{about}: fired, and its runbook's steps ended it")
