"""What `robolearn train` does once the training is over, with the training itself played by a stand-in."""

import io
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from robolearn.cli import train as command
from robolearn.keys import KeyFileError

EVALUATION = '{"iteration": 3, "success": {"rate": 0.985, "episodes": 1000, "low": 0.975, "high": 0.991}}'


def said(monkeypatch, run_dir, outcome="finished", export=None, overrides=(), bundle=True):
    """What is printed at the end of a training, and how often the policy was exported."""
    run_dir.mkdir(exist_ok=True)
    exported = []

    def write():
        exported.append(1)
        (export or (lambda: None))()
        (run_dir / "evaluation.json").write_text(EVALUATION)

    run = SimpleNamespace(
        run_dir=run_dir, outcome=outcome, metrics=[{"iteration": 3, "steps": 10, "time/wall_s": 1.0}], iteration=3,
        resume_command="robolearn train ...", bundle_path=run_dir / "fr3-reach.robolearn", export=write,
        config=SimpleNamespace(imitation_fraction=0.5, iterations=4),
    )  # fmt: skip
    monkeypatch.setattr(command, "train", lambda *_, **__: run)
    monkeypatch.setattr(command.Run, "of", lambda run: run)
    monkeypatch.setattr(command, "connect", lambda: None)
    text = io.StringIO()
    found = command.train_command(
        "fr3/reach", None, overrides, run_dir, Console(file=text, width=200), bundle=bundle
    )
    assert found is run
    return text.getvalue(), len(exported)


@pytest.mark.parametrize("outcome", ["finished", "time budget"])
def test_a_complete_run_is_evaluated_and_exported(monkeypatch, tmp_path, outcome):
    text, exported = said(monkeypatch, tmp_path, outcome)
    assert exported == 1
    assert f"Bundle: {tmp_path}/fr3-reach.robolearn, success 98.5% of 1,000 fresh episodes" in text


def test_a_run_that_will_go_on_is_not_exported_nor_one_without_bundle(monkeypatch, tmp_path):
    text, exported = said(monkeypatch, tmp_path, "stopped")
    assert (exported, "Bundle" in text, "Continue with" in text) == (0, False, True)
    text, exported = said(monkeypatch, tmp_path, bundle=False)
    assert (exported, "Bundle" in text) == (0, False)


def test_of_many_processes_none_waits_for_an_export(monkeypatch, tmp_path):
    text, exported = said(monkeypatch, tmp_path, overrides=["distributed=true"])
    assert exported == 0
    assert f"Make its bundle with: robolearn export {tmp_path}" in text


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            KeyFileError("Cannot write the key file k."),
            "No bundle: Cannot write the key file k. Make it with",
        ),
        (RuntimeError("no [such] operator"), "No bundle: no [such] operator. Make it with"),
        (KeyboardInterrupt(), "No bundle yet. Make it with"),
    ],
)
def test_an_export_that_fails_does_not_undo_the_training(monkeypatch, tmp_path, error, why):
    def fail():
        raise error

    text, _ = said(monkeypatch, tmp_path, export=fail)
    assert f"{why}: robolearn export {tmp_path}" in text


def test_sigterm_ends_the_export_and_not_in_an_error(monkeypatch, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    text, _ = said(monkeypatch, tmp_path, export=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert "No bundle yet. Make it with: robolearn export" in text
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bundle_of_this_very_policy_is_not_made_again(monkeypatch, tmp_path):
    bundle = SimpleNamespace(manifest=SimpleNamespace(evaluation={"iteration": 3}))
    monkeypatch.setattr(command.PolicyBundle, "load", lambda _: bundle)
    (tmp_path / "fr3-reach.robolearn").write_text("a bundle")
    (tmp_path / "evaluation.json").write_text(EVALUATION)
    assert said(monkeypatch, tmp_path)[1] == 0
    bundle.manifest.evaluation["iteration"] = 2
    assert said(monkeypatch, tmp_path)[1] == 1


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        (
            {"JAX_PLATFORMS": "cuda"},
            ["train", "fr3/reach", "--run", "a"],
            "JAX found no device for JAX_PLATFORMS=cuda",
        ),
        (
            {"MUJOCO_GL": "banana"},
            ["robots"],
            "invalid value for environment variable MUJOCO_GL: banana. Set it to egl",
        ),
        ({}, ["train", "fr3/reach", "--run", ""], "--run is empty"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(tmp_path, environment, arguments, message):
    ended = subprocess.run(
        [sys.executable, "-m", "robolearn", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
