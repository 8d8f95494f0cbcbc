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
INSTALLED = find_spec("wandb") is not None
POINT_MASS = [str(HERE / "train_point.py"), "RUN", "--iterations", "6", "--wandb"]
# As a user types it: W&B is not mentioned, so it is offline where it is installed; the policy is exported at the end,
# which evaluates it, in short episodes here, and loads it into ONNX Runtime.
COMMAND = [
    *("-m", "robolearn", "train", "fr3/reach", "--run", "RUN", "num_envs=16", "total_steps=512", "groups=1"),
    *("env.episode_s=0.2", "env.success_hold_s=0.1"),
    *("ppo.rollout_steps=8", "ppo.minibatches=2", "ppo.epochs=1"),
]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("training", "wandb"),
    [([*POINT_MASS, "disabled"], False), (COMMAND, INSTALLED)],
    ids=["W&B disabled", "the command"],
)
def test_no_socket_leaves_loopback_during_training(tmp_path, training, wandb):
    run, trace = tmp_path / "run", tmp_path / "trace.txt"
    # Without what silences others: CI and ORT_DISABLE_TELEMETRY do it for ONNX Runtime.
    env = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith(("WANDB_", "ORT_"))}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), env.get("PYTHONPATH", "")])
    words = [sys.executable, *(str(run) if word == "RUN" else word for word in training)]
    tracer = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o"]
    watched = [*tracer, str(trace), *words]
    done = subprocess.run(watched, env=env, capture_output=True, text=True, timeout=400, check=False)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("this machine does not allow tracing")
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"outcome": "finished"' in (run / "run.json").read_text(), done.stderr[-2000:]
    outside = [
        line
        for line in trace.read_text().splitlines()
        if re.search(r"AF_INET6?\b", line) and not re.search(r'"127\.0\.0\.1"|"::1"', line)
    ]
    assert outside == []
    assert (run / "fr3-reach.robolearn").is_file() is (training is COMMAND)
    assert bool(list((run / "wandb").glob("offline-run-*/*.wandb"))) is wandb
