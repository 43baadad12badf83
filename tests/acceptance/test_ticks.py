"""Ticks of maintenance on a real worker: what they tell the broker, and nobody else."""

from __future__ import annotations

from tests.stack import MakeStack


def test_a_tick_is_not_acknowledged_to_a_broker_that_forgot_it_and_sends_no_task_events(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.maintenance()
    store = stack.client.store
    beats = (store.keys("heartbeat", "rescue"), store.keys("heartbeat", "purge"))
    done, said = dict.fromkeys(beats, 0), []
    with store.client.monitor() as monitor:
        # Each duty more than once: what a tick says as it ends comes after its duty.
        while min(done.values()) < 3:
            command = str(monitor.next_command()["command"])
            for beat in beats:
                done[beat] += command.startswith(f"SET {beat} ")
            if command.startswith(("ZREM unacked_index", "HDEL unacked")) or (command.startswith("PUBLISH") and "celeryev/task" in command):
                said.append(command[:200])
    assert said == []
    assert "Traceback" not in stack.log("maintenance")
