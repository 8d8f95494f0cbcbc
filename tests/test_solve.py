"""The table that `make solve` writes."""

from __future__ import annotations

from benchmarks.solve import (
    BARS,
    DEFAULT,
    EXPERT,
    REWARD,
    config_of,
    mark_outdated,
    shift_table,
    short_of,
    table,
)


def run(success, median_s=None, **training):
    return {"success": success, "episodes": 1000, "median_s": median_s, **training}


RESULTS = {
    "fr3/reach": {
        EXPERT: {"runs": {"0": run(0.988, 1.5)}, "measured": "2026-12-01"},
        DEFAULT: {
            "runs": {
                "0": run(1.0, 1.4, wall_s=20.0, steps=250000),
                "1": run(0.98, 1.6, wall_s=21.0, steps=250000),
            },
            "measured": "2026-12-01",
        },
        REWARD: {"runs": {"0": {"success": 0.995, "wall_s": 59.0, "steps": 9}}, "measured": "2026-11-22"}
        | {"before": True},
    }
}  # fmt: skip


def test_each_task_has_a_line_for_the_expert_the_default_and_reward_alone():
    lines = [line for line in table(RESULTS).splitlines() if "`fr3/reach`" in line]
    assert lines == [
        "| `fr3/reach` | expert alone | 98.8 % | 1.50 s |  |  |  | 2026-12-01 |",
        "| `fr3/reach` | default | 100.0 % · 98.0 % | 1.50 s | 250,000 | 20 · 21 | 99 % in 30 s | 2026-12-01 |",
        "| `fr3/reach` | reward alone | 99.5 % |  | 9 | 59 | 99 % in 60 s | 2026-11-22, earlier code |",
    ]
    missing = [line for line in table(RESULTS).splitlines() if "`fr3/push`" in line]
    assert all("not run" in line for line in missing)
    assert len(missing) == 2  # what was asked for and not run is named


def test_what_is_below_its_bar_is_named():
    assert short_of(RESULTS) == ["fr3/reach default seed 1"]


def test_reward_alone_is_another_config_than_the_default():
    for task in ("fr3/reach", "fr3/pick_cube"):
        assert {DEFAULT, REWARD} <= set(BARS[task])
        assert config_of(task, DEFAULT)["imitation_fraction"] > 0.0
        assert config_of(task, REWARD)["imitation_fraction"] == 0.0
        assert "randomization" in config_of(task, EXPERT)["env"]


def test_rows_of_earlier_defaults_say_so():
    now = config_of("fr3/reach", DEFAULT)
    earlier = now | {"env": now["env"] | {"episode_s": 99.0}}
    results = {"fr3/reach": {DEFAULT: {"config": earlier, "runs": {}}}, "fr3/push": {DEFAULT: {"runs": {}}}}
    results["ur5e/reach"] = {DEFAULT: {"config": config_of("ur5e/reach", DEFAULT), "runs": {}}}
    mark_outdated(results)
    assert [rows[DEFAULT].get("before", False) for rows in results.values()] == [True, True, False]


def test_shifts_are_shown_beside_the_expert_and_what_differs_is_bold():
    late = "commands late"
    reach = {
        "as trained": {"policy": 0.984, "expert": 0.929, "difference": [0.04, 0.07]},
        late: {"policy": 0.5, "expert": 0.51, "difference": [-0.03, 0.01]},
    }
    push = {"as trained": {"policy": 0.8, "expert": 0.9, "difference": [-0.12, -0.08]}}
    results = {
        task: {DEFAULT: {"runs": {"0": run(1.0, shifts=found), "1": run(1.0)}}}
        for task, found in (("fr3/push", push), ("fr3/reach", reach))
    }
    assert shift_table(results).splitlines() == [
        "| policy / expert, % | `fr3/reach` | `fr3/push` |",
        "| --- | --- | --- |",
        "| as trained | **98.4 / 92.9** | **80.0 / 90.0** |",
        "| commands late | 50.0 / 51.0 | - |",
    ]
