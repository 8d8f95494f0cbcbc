"""One set of nodes for one arm on one machine."""

import subprocess
import sys

import pytest

from robolearn.deploy.claim import AlreadyClaimed, Claim


def test_a_second_claim_is_refused_and_the_first_process_named():
    code = "from robolearn.deploy.claim import Claim; c = Claim('commands an arm', '/x', 7); print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        for _ in range(3):
            with pytest.raises(AlreadyClaimed) as refused:
                Claim("commands an arm", "/x", 7)
            assert str(refused.value) == (
                f"Process {first.pid} already commands an arm on /x in ROS domain 7, and there is one set of nodes for "
                "one arm. End that process first, or set another ROS_DOMAIN_ID."
            )
        for other in (
            ("commands an arm", "/x", 8),
            ("commands an arm", "/y", 7),
            ("serves a policy", "/x", 7),
        ):
            Claim(*other).release()
        first.kill()
        first.wait()
    Claim("commands an arm", "/x", 7).release()  # nothing stale is left of a process that was killed


def test_a_claim_ends_with_its_block():
    with Claim("commands an arm", "/x", 9), pytest.raises(AlreadyClaimed):
        Claim("commands an arm", "/x", 9)
    Claim("commands an arm", "/x", 9).release()


def test_a_claim_that_cannot_be_made_for_another_reason_says_so(monkeypatch):
    import socket

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(PermissionError):
        Claim("commands an arm", "/x", 9)
