"""What is kept of episodes over the nodes, and what is said of them; the episodes themselves take minutes."""

import pytest

from benchmarks.grippers_ros import Outcome, keep, read_outcomes, summary
from robolearn.errors import ConfigError


def outcome(episode, success=True, stop="", late=0):
    return Outcome(episode, success, 0.01 if success else 0.31, stop, late, 5, 250.0, "ab")


def test_episodes_are_kept_one_by_one_and_one_that_was_cut_short_is_played_again(tmp_path):
    file = tmp_path / "franka_hand.jsonl"
    assert read_outcomes(file, 250.0, "ab") == []
    keep(file, outcome(0))
    keep(file, outcome(1, success=False))
    with file.open("a") as stream:
        stream.write('{"episode": 2, "succ')  # killed while it wrote
    assert read_outcomes(file, 250.0, "ab") == [outcome(0), outcome(1, success=False)]
    keep(file, outcome(2))
    assert [one.episode for one in read_outcomes(file, 250.0, "ab")] == [0, 1, 2]


@pytest.mark.parametrize(("rate_hz", "bundle"), [(500.0, "ab"), (250.0, "cd")])
def test_figures_of_another_rate_or_bundle_are_not_mixed(tmp_path, rate_hz, bundle):
    keep(tmp_path / "x.jsonl", outcome(0))
    with pytest.raises(ConfigError, match="another rate or with another bundle"):
        read_outcomes(tmp_path / "x.jsonl", rate_hz, bundle)


def test_the_summary_has_the_interval_and_what_failed_and_how_often_the_machine_was_late():
    found = [outcome(k) for k in range(18)]
    found += [outcome(18, success=False, late=2), outcome(19, success=False, stop="tracking_error", late=1)]
    said = summary("fr3+franka_hand", found)
    assert "at 250 Hz: 18 of 20 succeed, 95 % interval 0.70 to 0.97" in said
    assert "failed: 18 (0.31 m), 19 (tracking_error)" in said
    assert said.endswith("played again because the machine was late: 3")
    assert "0 of 0 succeed, 95 % interval 0.00 to 1.00; no commands" in summary("fr3+x", [])
