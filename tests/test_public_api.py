"""The names that notebooks use: pinned, imported lazily, and readable in a notebook."""

import subprocess
import sys

import numpy as np
import pytest

import robolearn as rl
from robolearn.env.task import task_names
from robolearn.errors import ConfigError, TaskError
from robolearn.show.notebook import LiveCurve, Video, html, in_notebook
from robolearn.show.plots import training_figure

PUBLIC = [
    "Command", "Measured", "PolicyBundle", "PolicyRuntime", "Reset", "RobolearnError", "Robot", "Run",
    "SafetyLog", "SafetyMonitor", "SafetyProfile", "Serving", "Slot", "Surroundings", "Task", "TaskConfig",
    "VecEnv", "__version__", "load_robot", "load_task", "make", "open_run", "register_task", "review_log",
    "robot_names", "task_names", "train",
]  # fmt: skip


def test_the_public_names_are_these_and_exist():
    assert rl.__all__ == PUBLIC
    assert dir(rl) == PUBLIC
    for name in PUBLIC:
        assert getattr(rl, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = rl.trian


@pytest.mark.parametrize(
    "name", ["", "load_robot", "PolicyBundle", "PolicyRuntime", "SafetyMonitor", "review_log"]
)
def test_the_robots_computer_needs_no_training_stack(name):
    code = f"import sys, robolearn; {f'robolearn.{name};' if name else ''}"
    code += "bad = {'jax', 'flax', 'torch', 'gymnasium', 'matplotlib', 'rclpy'} & set(sys.modules);"
    code += "sys.exit(str(bad) if bad else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return rl.train(
        "fr3/reach",
        run_dir=tmp_path_factory.mktemp("api") / "run",
        num_envs=16,
        total_steps=512,
        groups=1,
        ppo={"rollout_steps": 16, "minibatches": 2, "epochs": 1, "actor_hidden": [16], "critic_hidden": [16]},
    )


def test_train_lays_overrides_over_the_tasks_own_config(run):
    assert run.outcome == "finished"
    assert run.config.ppo.epochs == 1
    assert run.config.ppo.discount == 0.95  # from configs/train/reach.yaml
    assert run.metrics[-1]["steps"] == 512


def test_train_refuses_a_key_it_does_not_know(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'total_steps'"):
        rl.train("fr3/reach", run_dir=tmp_path / "run", total_step=512)


def test_a_run_is_plotted_and_shown(run):
    figure = run.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == ["million control steps"] * 2
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "512 control steps" in run._repr_html_()
    assert rl.open_run(run.run_dir).iteration == run.iteration


def test_evaluation_and_bundle_show_themselves(run):
    result = run.evaluate(episodes=8, env=rl.make("fr3/reach", num_envs=8))
    assert "95 % interval" in result._repr_html_()
    bundle = run.export()
    assert "joint_position" in bundle._repr_mimebundle_()["text/html"]
    assert rl.PolicyBundle.load(bundle.path).digest == bundle.digest


def test_html_escapes_what_it_shows():
    assert "<script>" not in html("<script>alert(1)</script>")


def test_a_video_is_a_path_that_plays(tmp_path):
    file = tmp_path / "x.mp4"
    file.write_bytes(b"not really a film")
    video = Video(file)
    assert "data:video/mp4;base64," in video._repr_html_()
    with open(video, "rb") as stream:
        assert stream.read() == b"not really a film"


def test_a_figure_of_no_rows_is_empty_not_an_error():
    assert len(training_figure([]).axes) == 2


def test_a_task_of_ones_own_is_made_by_name(monkeypatch):
    from robolearn_envs.reach import Reach

    monkeypatch.setattr("robolearn.env.task._REGISTERED", {})

    @rl.register_task
    class Mine(Reach):
        name = "mine"

    assert "fr3/mine" in task_names()
    env = rl.make("fr3/mine", num_envs=2)
    assert isinstance(env.task, Mine)
    assert np.asarray(env.action_size) == 7


def test_a_task_cannot_take_the_name_of_an_installed_one():
    from robolearn_envs.reach import Reach

    with pytest.raises(TaskError, match="already installed"):
        rl.register_task(Reach)


def test_the_live_curve_is_drawn_now_and_then_and_at_the_end(monkeypatch):
    pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr(LiveCurve, "_show", lambda self, what: shown.append(type(what).__name__))
    curve = LiveCurve("fr3/reach", every_s=1e9)
    curve.stage("compiling")
    for steps in (1000, 2000):
        curve.row({"steps": steps, "success": 0.5, "episode_return": 1.0})
    curve.draw([{"steps": 2000, "success": 0.5, "episode_return": 1.0}])
    assert shown == ["HTML", "Picture", "Picture"]


def test_this_is_no_notebook():
    assert not in_notebook()
