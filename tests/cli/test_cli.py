import gc
import json
import os

import pytest
from command_line import run

from robolearn.cli import app as cli
from robolearn.errors import RobolearnError

COMMANDS = ("demo", "train", "eval", "export", "inspect", "approve", "serve", "review", "tasks", "robots")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_gives_an_example(capsys, command):
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert "Example:" in out
    assert f"robolearn {command}" in out


def test_tasks_and_robots_are_listed(capsys):
    status, out, _ = run(capsys, "tasks", "--json")
    assert status == 0
    assert "fr3/reach" in json.loads(out)
    status, out, _ = run(capsys, "robots", "--json")
    assert {"fr3", "ur5e", "iiwa14"} <= {robot["name"] for robot in json.loads(out)}


def test_a_task_is_shown_with_its_slots_and_rewards(capsys):
    status, out, _ = run(capsys, "tasks", "show", "fr3/reach")
    assert status == 0
    for word in (
        "joint_position",
        "goal_position",
        "rad/s",
        "distance",
        "2 cm",
        "action_delay_ms",
        "0 .. 70",
    ):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "fr3/reech"), "Did you mean 'fr3/reach'?"),
        (("train", "fr3/reach", "ppo.learning_rat=1"), "Did you mean 'ppo.learning_rate'?"),
        (("train", "fr3/reach", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("train", "fr3/reach", "seed"), "key=value"),
        (("eval", "no-such-run"), "no-such-run"),
        (("export", "no-such-run"), "no-such-run"),
        (("inspect", "no-such.robolearn"), "no-such.robolearn"),
        (("serve", "no-such.robolearn", "--sim"), "no-such.robolearn"),
        (("review", "no-such-log"), "no-such-log"),
        (("tasks", "show", "fr4/reach"), "Unknown task 'fr4/reach'"),
        (("robots", "show", "fr4"), "Did you mean 'fr3'?"),
        (("robots", "check", "no-such-arm.yaml"), "no-such-arm.yaml"),
    ],
)
def test_wrong_input_is_one_clear_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2, out + err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("module", "words"),
    [("jax", "robolearn[train]"), ("rclpy", "robolearn[ros]"), ("torch", "robolearn[sb3]")],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(capsys, monkeypatch, module, words):
    def lacking(**_):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(cli, "command_line", lambda: lacking)
    status, _, err = run(capsys)
    assert status == 2
    assert words in err


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch):
    def broken(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "command_line", lambda: broken)
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_a_command_looks_for_garbage_less_often_and_has_programs_name_no_lines(capsys, monkeypatch):
    monkeypatch.delenv("JAX_TRACEBACK_IN_LOCATIONS_LIMIT")
    before = gc.get_threshold()
    gc.set_threshold(700)
    try:
        run(capsys, "--version")
        assert gc.get_threshold()[0] == 10_000
        assert os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] == "0"
        monkeypatch.setenv("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "5")  # a user's own
        run(capsys, "--version")
        assert os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] == "5"
    finally:
        gc.set_threshold(*before)


def test_messages_are_printed_as_they_are(capsys, monkeypatch):
    def wrong(**_):
        raise RobolearnError("key [bold] is 'x'")

    monkeypatch.setattr(cli, "command_line", lambda: wrong)
    _, _, err = run(capsys)
    assert err == "robolearn: key [bold] is 'x'\n"


def test_wrong_mode_and_region_are_named(capsys):
    status, _, err = run(capsys, "safety", "limits", "fr3", "--mode", "automatc")
    assert status == 2
    assert "Did you mean 'automatic'?" in err


def test_help_is_grouped_by_user(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for panel in ("Start here", "Researcher", "Robot integrator", "Safety engineer"):
        assert panel in out
    assert " Commands " not in out  # every command is in a group


def test_the_expert_alone_is_evaluated_where_a_task_has_one(capsys, tmp_path):
    status, out, _ = run(
        capsys, "eval", "fr3/reach", "--policy", "expert", "--episodes", "4", "--json", "-o", tmp_path
    )
    assert status == 0
    assert json.loads(out)["success"]["episodes"] == 4
    assert json.loads((tmp_path / "expert-evaluation.json").read_text())["policy"] == "expert"
    status, _, err = run(capsys, "eval", "fr3/reach", "--policy", "export")
    assert (status, "Did you mean 'expert'" in err) == (2, True)
    status, _, err = run(capsys, "eval", "fr3/reach_pose", "--policy", "expert", "--episodes", "1")
    assert (status, "Task 'reach_pose' has no expert" in err) == (2, True)


def test_a_slurm_script_is_printed_for_a_site(capsys):
    status, out, _ = run(capsys, "slurm", "fr3/reach", "seed=3", "--site", "leonardo", "--nodes", "2")
    assert status == 0
    assert out.startswith("#!")
    assert "robolearn train fr3/reach" in out
    assert "seed=3" in out
    status, _, err = run(capsys, "slurm", "fr3/reach", "--site", "leonard")
    assert status == 2
    assert "leonardo" in err


def test_a_slurm_script_has_the_config_and_is_not_printed_for_a_run_that_would_not_start(capsys, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("num_envs: 64\n")
    given = ["--config", str(config)]
    status, out, _ = run(capsys, "slurm", "fr3/reach", *given)
    assert (status, f"--config {config}" in out) == (0, True)
    status, out, err = run(capsys, "slurm", "fr3/nope", "--site", "lumi")
    assert (status, out, "Unknown task 'fr3/nope'" in err) == (2, "", True)
    status, out, err = run(capsys, "slurm", "fr3/reach", "bogus=3", "--site", "lumi")
    assert (status, out, "Unknown key 'bogus'" in err) == (2, "", True)


def test_help_fits_80_columns_and_flags_have_no_type(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, "eval", "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "bool" not in out
    assert "into the run folder; for a bundle, NAME-evaluation.json" in " ".join(out.split())


@pytest.mark.parametrize("given", ["fr3", "reach", "fr3/reech", "runs/fr3-reach"])
def test_a_wrong_task_is_refused_before_a_progress_bar_with_the_form_of_a_task(capsys, given):
    status, out, err = run(capsys, "train", given)
    assert (status, out) == (2, "")
    assert "A task is ROBOT/TASK. Robots: fr3, iiwa14, ur5e, or the path of a robot file. Tasks: " in err
    assert ("Did you mean 'fr3/reach'?" in err) == (given != "fr3")
