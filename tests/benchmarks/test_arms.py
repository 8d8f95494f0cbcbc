"""The page of arms tried: what was not tried is not counted as a success."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
import arms_page


def arm(**more):
    known = {
        "label": "An arm",
        "source": "somewhere",
        "joints": 6,
        "lines": 9,
        "hulls": 7,
        "shapes": 12,
        "watched": True,
    }
    return known | {"findings": ["limits.torque_nm is 30 Nm for every joint", "servo is missing"]} | more


def test_the_page_counts_what_was_reached_and_says_what_was_not_tried(tmp_path):
    file = tmp_path / "arms.json"
    given = {
        "a": arm(reach={"expert": 1.0, "success": 0.97, "steps": 131072}, serve={"goals": 5, "reached": 5}),
        "b": arm(
            reach={"expert": 0.9, "success": 0.94, "steps": 253952},
            serve={"goals": 5, "reached": 4},
            lines=11,
        ),
        "c": arm(watched=False, pick_cube={"refused": "too small"}),
        "d": {"source": "elsewhere", "refused": "no such mesh"},
    }
    file.write_text(json.dumps(given))
    page = arms_page.arms_page(file)
    assert (
        "Of 4 files, 3 load and compile, 2 of them with at most 10 lines; the monitor can watch every link of 2."
        in page
    )
    assert "`reach` was trained on 2: 1 reach at least 95%. 2 were served: 1 reach every goal." in page
    assert "`pick_cube` was trained on 0" in page
    rows = [line for line in page.splitlines() if line.startswith("| An arm")]
    assert rows[0].endswith("| 100% | 97.0% after 131,072 steps | 5 of 5 | not tried |")
    assert rows[2].endswith("| not fitted yet | not tried | not tried | not tried | too small |")
    assert "- `d` (elsewhere): no such mesh" in page
    assert page.count("limits.torque_nm is 30 Nm") == 3
    assert "servo is missing" not in page
