"""The page of the rules: written from the table, which has every rule in the code and no other."""

import importlib.util
import sys
from pathlib import Path

import pytest

from robolearn.safety.rules import RULES


@pytest.fixture(scope="module")
def reference():
    path = Path(__file__).parents[2] / "docs" / "reference.py"
    sys.path.insert(0, str(path.parent))  # it imports what stands beside it, as a script does
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(path.parent))


def test_every_rule_in_the_code_is_in_the_table_and_no_other(reference):
    assert reference.found_rules() == {rule.name for rule in RULES}


def test_the_page_says_of_each_rule_what_the_table_says(reference):
    page = reference.rules_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(RULES)
    for row, rule in zip(rows, RULES, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert cells[0] == f"`{rule.name}`"
        assert cells[1] == rule.description
        assert cells[3] == (f"`{rule.limit}`" if rule.limit else "")
        assert cells[4].strip("| ") == rule.unit
