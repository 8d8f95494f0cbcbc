"""What the reference says of a rule is what the monitor does."""

import importlib.util
from pathlib import Path

import pytest
from safety_rig import Rig

from robolearn.safety.types import State


@pytest.fixture(scope="module")
def rules():
    path = Path(__file__).parents[2] / "docs" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RULES


def test_the_rules_that_are_no_stop_are_described_as_such(rules):
    rig = Rig(start=False)
    seen = {"start": rig.cycle(None)}
    rig.start()
    seen["waiting"] = rig.cycle(None)
    rig.cycle(rig.position)
    seen["timing"] = rig.cycle(None)
    for rule, decision in seen.items():
        assert [record.rule for record in decision.records] == [rule]
        assert not decision.latched
        assert "no stop" in rules[rule]
    assert "until then the held position goes out" in rules["start"]
    assert "carried on" in seen["timing"].records[0].text
    assert "carried on" in rules["timing"]


def test_too_long_a_wait_for_the_first_command_is_a_stop_by_the_age_of_commands(rules):
    rig = Rig()
    cycles = round(rig.monitor.limits.mode.first_command_wait_max_s.value / rig.monitor.period_s) + 10
    for _ in range(cycles):
        decision = rig.cycle(None)
        if rig.monitor.state is not State.RUNNING:
            break
    assert decision.records[0].rule == "command_age"
    assert decision.latched
    assert "the first one comes soon enough after the start" in rules["command_age"]
    assert "`command_age`" in rules["waiting"]
