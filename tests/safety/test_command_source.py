"""Names of sources: which policy computes, and what the start was given to."""

import pytest

from robolearn.safety.command_source import (
    after_swap,
    brief,
    computing,
    policy_digest,
    policy_source,
    started_for,
)

OLD, NEW, THIRD = (policy_source(digit * 64) for digit in "abc")


def test_a_swap_in_motion_names_both_and_keeps_the_start():
    both = after_swap(OLD, NEW)
    assert both == f"{OLD}+{NEW}"
    assert (started_for(both), computing(both)) == (OLD, NEW)
    assert after_swap(both, NEW) == both
    assert after_swap(both, THIRD) == f"{OLD}+{THIRD}"
    assert after_swap(both, OLD) == OLD
    assert after_swap(OLD, OLD) == OLD


@pytest.mark.parametrize(
    ("source", "digest"),
    [
        (OLD, "a" * 64),
        (after_swap(OLD, NEW), "b" * 64),
        ("rogue", None),
        ("", None),
        ("policy", None),
        (f"{OLD}+rogue", None),
        (f"rogue+{NEW}", "b" * 64),
    ],
)
def test_the_digest_is_that_of_what_computes_now(source, digest):
    assert policy_digest(source) == digest


def test_long_names_are_cut_for_a_line_of_text():
    assert brief("x" * 40) == "x" * 40
    assert brief(OLD) == "policy:aaaaaaaaaaaaaaaa..."
