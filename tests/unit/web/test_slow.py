"""A sender that is too slow is cut off, and only that one."""

from __future__ import annotations

import socket

from pipeline_jobs.web.server.slow import Watch
from tests.waiting import until


def test_a_socket_whose_time_is_over_wakes_its_reader_and_can_still_be_answered() -> None:
    ours, theirs = socket.socketpair()
    watch = Watch()
    with ours, theirs, watch.limit({"gunicorn.socket": ours}, 0.01) as limit:
        assert ours.recv(10) == b""
        assert limit.over
        ours.sendall(b"408")
        assert theirs.recv(10) == b"408"


def test_who_is_in_time_is_left_alone() -> None:
    now = [0.0]
    watch = Watch(lambda: now[0])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with watch.limit({"gunicorn.socket": ours}, 10) as limit:
            now[0] = 9.0
            watch.look()
        now[0] = 99.0
        watch.look()
        assert not limit.over
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"


def test_a_server_that_shows_no_socket_is_served() -> None:
    with Watch().limit({}, 0) as limit:
        assert not limit.over


def test_the_watch_goes_on_after_an_idle_time() -> None:
    watch = Watch()
    for _ in range(2):
        ours, theirs = socket.socketpair()
        with ours, theirs, watch.limit_of(ours, 0.01) as limit:
            until(lambda: limit.over, "the end of the time")
