"""Learning curves of several runs and seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from robolearn.cli import app as cli
from robolearn.errors import ConfigError
from robolearn.learn import folder
from robolearn.learn.train_config import TrainConfig
from robolearn.show.curves import band, curves_figure, group_curves, read_curve


def made(run_dir: Path, seed: int, height: float, *, every: int = 100, **changes) -> Path:
    """A run folder whose success rises in a straight line to height."""
    run_dir.mkdir(parents=True)
    (run_dir / folder.CONFIG).write_text(TrainConfig(task="fr3/reach", seed=seed, **changes).to_yaml())
    rows = [
        {"iteration": i, "steps": i * every, "time/wall_s": 2.0 * i, "episode_return": 10.0 * i}
        | ({"success": height * i / 10} if i > 1 else {})  # no episode ended in the first
        for i in range(1, 11)
    ]
    (run_dir / folder.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run_dir


@pytest.fixture
def runs(tmp_path):
    low = [made(tmp_path / f"low-{seed}", seed, 0.4 + 0.1 * seed) for seed in range(3)]
    wide = made(tmp_path / "wide", 0, 0.9, num_envs=256, every=200)
    return [*low, wide]


def test_runs_that_differ_in_the_seed_alone_are_a_group_named_by_what_sets_it_apart(runs):
    groups = group_curves([read_curve(run) for run in runs])
    assert [group.label for group in groups] == [
        "low-0, low-1, low-2 (3 runs): num_envs=512",
        "wide: num_envs=256",
    ]
    assert [curve.seed for curve in groups[0].curves] == [0, 1, 2]
    alone = group_curves([read_curve(run) for run in runs[:2]])
    assert [group.label for group in alone] == ["low-0, low-1 (2 runs)"]


def test_the_band_is_the_median_between_lowest_and_highest_at_equal_steps(runs):
    curves = [read_curve(run) for run in runs[:3]]
    axis, middle, low, high = band(curves, "success", "steps", 1)
    assert (axis[0], axis[-1]) == pytest.approx((2e-4, 1e-3))  # million steps; the first has no success
    assert (low[-1], middle[-1], high[-1]) == pytest.approx((0.4, 0.5, 0.6))
    np.testing.assert_allclose(middle, 0.5 * axis / 1e-3, atol=1e-9)
    # at equal steps, though one run takes twice as many in an iteration
    both = [curves[0], read_curve(runs[3])]
    axis, _, low, _ = band(both, "success", "steps", 1)
    assert axis[-1] == pytest.approx(1e-3)
    np.testing.assert_allclose(low, 0.4 * axis / 1e-3, atol=1e-9)


def test_a_running_mean_is_over_what_has_been(runs):
    _, middle, _, _ = band([read_curve(runs[0])], "episode_return", "wall", 3)
    np.testing.assert_allclose(middle[:4], [10.0, 15.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (5, "{broken", "line 5, is not JSON"),
        (5, "[1]", "line 5, is not an object"),
        (7, '{"iteration": 7, "steps": 700, "success": "high"}', "line 7: 'success' is 'high'"),
        (2, '{"iteration": 2, "steps": 200, "success": NaN}', "line 2: 'success' is nan"),
    ],
)
def test_damaged_metrics_are_named_and_not_drawn_in_part(runs, line, text, said):
    path = runs[0] / folder.METRICS
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[: line - 1], text, *lines[line:]]) + "\n")
    with pytest.raises(ConfigError, match=said):
        read_curve(runs[0])


def test_a_last_line_that_is_being_written_is_left_out(runs):
    path = runs[0] / folder.METRICS
    path.write_text(path.read_text() + '{"iteration": 11, "st')
    assert len(read_curve(runs[0]).rows) == 10
    path.write_text('{"iterat')
    with pytest.raises(ConfigError, match="no whole line of metrics yet"):
        read_curve(runs[0])


def test_a_metric_that_no_run_has_is_refused_by_name(runs):
    with pytest.raises(ConfigError, match="Did you mean 'success'"):
        curves_figure([read_curve(runs[0])], ["succes"])


def test_the_command_writes_a_picture_with_a_line_and_a_band(runs, tmp_path, capsys):
    target = tmp_path / "pictures" / "curves.png"
    with pytest.raises(SystemExit) as end:
        cli.main(["plot", *map(str, runs), "-o", str(target)])
    assert end.value.code == 0
    assert "curves.png" in capsys.readouterr().out
    assert target.read_bytes()[:4] == b"\x89PNG"
    axes = curves_figure([read_curve(run) for run in runs]).axes
    assert [len(one.lines) for one in axes] == [2, 2]
    assert [len(one.collections) for one in axes] == [1, 1]


def test_a_folder_without_a_run_and_a_picture_of_no_kind_are_one_line(runs, tmp_path, capsys):
    for words, said in (
        (["plot", str(tmp_path / "none")], "Unknown run folder"),
        (["plot", str(runs[0]), "--over", "hours"], "expected steps or wall"),
        (["plot", str(runs[0]), "-o", str(tmp_path / "x.docx")], "Cannot write"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        err = capsys.readouterr().err
        assert (end.value.code, len(err.strip().splitlines())) == (2, 1)
        assert said in err
