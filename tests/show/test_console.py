"""What is printed where there is no terminal: whole lines, no bars."""

import io

from rich.console import Console

from robolearn.learn.evaluation import Evaluation, wilson
from robolearn.show import console


def test_an_evaluation_off_a_terminal_prints_whole_lines(monkeypatch):
    monkeypatch.setattr(console, "PLAIN_EVERY_S", 0.0)
    text = io.StringIO()
    with console.EvaluationBar(Console(file=text)) as progress:
        progress("steps", 900, 9000)
        progress("steps", 1800, 9000)
    first, second = text.getvalue().splitlines()
    assert first == "steps: 900 of 9,000"
    assert second.startswith("steps: 1,800 of 9,000, ")
    assert second.endswith(" /s")


def shown(successes, strata):
    evaluation = Evaluation(
        "fr3/reach", 0, wilson("all", successes, 60), 0, 0, None, None, {}, {}, strata, strata[0].name
    )
    text = io.StringIO()
    Console(file=text, width=120).print(console.evaluation_table(evaluation))
    return text.getvalue()


def test_a_worst_stratum_is_named_only_where_an_episode_failed():
    all_well = tuple(wilson(name, 20, 20) for name in ("goal.x", "goal.y"))
    assert "none: 100.0% in each of 2 strata" in shown(60, all_well)
    text = shown(59, (wilson("goal.x", 19, 20), *all_well))
    assert "goal.x: 95.0%" in text
    assert "none" not in text
