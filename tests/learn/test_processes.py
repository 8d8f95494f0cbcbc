"""Training as real processes: killed, terminated, and spread over several."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from robolearn.config import config_dir
from robolearn.learn.trackers import read_metrics

HERE = Path(__file__).parent
LIMIT_S = 180


def start(run_dir: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    foreign = ("SLURM_", "OMPI_", "JAX_", "ROBOLEARN_")
    env = {k: v for k, v in os.environ.items() if "_CACHE" in k or not k.startswith(foreign)}
    env |= variables
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), env.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "train_point.py"), str(run_dir), *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"still running after {LIMIT_S} s:\n{output[-2000:]}")
    assert process.returncode == 0, output[-3000:]
    return output


def wait_for_iteration(process: subprocess.Popen, run_dir: Path, iteration: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while len(read_metrics(run_dir / "metrics.jsonl")) < iteration:
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def numbers(run_dir: Path) -> list[dict]:
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def prints(run_dir: Path, iteration: int) -> dict:
    path = run_dir / "checkpoints" / f"{iteration:012d}" / "meta" / "metadata"
    return json.loads(path.read_text())["fingerprints"]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def run_together(run_dir: Path, *arguments: str) -> list[subprocess.Popen]:
    coordinator = f"127.0.0.1:{free_port()}"
    return [
        start(run_dir, "--processes", "2", "--coordinator", coordinator, "--rank", str(rank), *arguments)
        for rank in range(2)
    ]


def pod_environment(rank: int, coordinator: str) -> dict[str, str]:
    """The environment that configs/cluster/jobset.yaml gives a pod; its DNS name for rank 0 stands for this machine."""
    (job,) = yaml.safe_load((config_dir() / "cluster/jobset.yaml").read_text())["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    found = {}
    for entry in container["env"]:
        if "value" in entry:
            found[entry["name"]] = entry["value"]
        else:
            field = entry["valueFrom"]["fieldRef"]["fieldPath"]
            assert field == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
            found[entry["name"]] = str(rank)
    host, _, port = found["ROBOLEARN_COORDINATOR"].partition(":")
    assert (host, port) == (
        "robolearn-train-train-0-0.robolearn-train",
        str(container["ports"][0]["containerPort"]),
    )
    return found | {"ROBOLEARN_COORDINATOR": coordinator}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of 40 iterations in one process, uninterrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(run_dir))
    return run_dir


INTERRUPTIONS = [  # after an iteration; the first before there is a checkpoint
    (2, signal.SIGKILL),
    (7, signal.SIGTERM),
    (17, signal.SIGKILL),
    (24, signal.SIGINT),
    (31, signal.SIGKILL),
]


@pytest.mark.slow
def test_killed_and_terminated_at_any_moment_the_run_continues_bit_for_bit(whole, tmp_path):
    """Again and again; where it is asked to end, it leaves a checkpoint and has status 0."""
    run_dir = tmp_path / "run"
    for at, number in INTERRUPTIONS:
        at = max(at, len(read_metrics(run_dir / "metrics.jsonl")) + 1)  # further than any before it
        process = start(run_dir)
        wait_for_iteration(process, run_dir, at)
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        else:
            assert "outcome: stopped" in finish(process)
            done = len(read_metrics(run_dir / "metrics.jsonl"))
            assert at <= done
            assert prints(run_dir, done)
        assert len(read_metrics(run_dir / "metrics.jsonl")) < 40
    finish(start(run_dir))
    assert numbers(run_dir) == numbers(whole)
    assert prints(run_dir, 40) == prints(whole, 40)


@pytest.mark.slow
def test_two_pods_of_the_job_set_learn_what_one_process_learns(whole, tmp_path):
    """Same draws, same minibatches; only the order of float32 sums differs, and that grows as training goes on."""
    run_dir, coordinator = tmp_path / "run", f"127.0.0.1:{free_port()}"
    # as in a pod: JAX's own detection would ask the Kubernetes API
    shared = {"KUBERNETES_SERVICE_HOST": "192.0.2.1"}
    for pod in [start(run_dir, **shared, **pod_environment(rank, coordinator)) for rank in range(2)]:
        assert "outcome: finished" in finish(pod)
    for row in read_metrics(run_dir / "metrics.jsonl"):
        assert 0 < row["time/rollout_s_fastest"] <= row["time/rollout_s_slowest"]
        assert row["time/slowest_device"] in (0, 1)
        assert 0 < row["time/balance"] <= 1
        rates = [row[f"time/rollout_steps_per_s_process_{process}"] for process in (0, 1)]
        assert min(rates) / max(rates) == pytest.approx(
            row["time/rollout_s_fastest"] / row["time/rollout_s_slowest"], rel=1e-5
        )
    one, two = numbers(whole), numbers(run_dir)
    assert [row["iteration"] for row in two] == list(range(1, 41))
    for key, tolerance in (("reward", 1e-5), ("loss/value", 1e-3), ("action_std", 1e-5)):
        np.testing.assert_allclose([r[key] for r in two[:5]], [r[key] for r in one[:5]], rtol=tolerance)
    for key in ("reward", "action_std"):
        np.testing.assert_allclose([r[key] for r in two], [r[key] for r in one], rtol=0.02)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_stops_both_after_the_same_iteration(tmp_path):
    run_dir = tmp_path / "run"
    processes = run_together(run_dir, "--iterations", "150")
    wait_for_iteration(processes[0], run_dir, 6)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        assert "outcome: stopped" in finish(process)
    done = len(read_metrics(run_dir / "metrics.jsonl"))
    assert done < 150
    assert prints(run_dir, done)
    finish(start(run_dir, "--iterations", "150"))  # what two processes saved, one continues
    assert prints(run_dir, 150)


@pytest.mark.slow
def test_two_devices_in_one_process_learn_what_one_learns(whole, tmp_path):
    run_dir = tmp_path / "run"
    finish(start(run_dir, "--devices", "2"))
    one, two = numbers(whole), numbers(run_dir)
    np.testing.assert_allclose([r["reward"] for r in two], [r["reward"] for r in one], rtol=0.02)
