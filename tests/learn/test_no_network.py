"""Training talks to nobody: every connect of the process and its children is watched from outside."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("wandb", ["disabled", "offline"])
def test_no_socket_leaves_loopback_during_training(tmp_path, wandb):
    if wandb == "offline" and find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    trace = tmp_path / "trace.txt"
    env = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith("WANDB_")}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), env.get("PYTHONPATH", "")])
    training = [
        sys.executable,
        str(HERE / "train_point.py"),
        str(tmp_path / "run"),
        "--iterations",
        "6",
        "--wandb",
        wandb,
    ]
    watched = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace), *training]
    done = subprocess.run(watched, env=env, capture_output=True, text=True, timeout=180, check=False)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("this machine does not allow tracing")
    assert "outcome: finished" in done.stdout, done.stderr[-2000:]
    outside = [
        line
        for line in trace.read_text().splitlines()
        if re.search(r"AF_INET6?\b", line) and not re.search(r'"127\.0\.0\.1"|"::1"', line)
    ]
    assert outside == []
    if wandb == "offline":
        assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
