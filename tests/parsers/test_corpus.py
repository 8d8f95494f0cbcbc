"""What the fuzzer of the parsers has found worth keeping, once more: no traceback and no hang."""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import TARGETS, handled

CORPUS = Path(__file__).parent / "corpus"
INPUTS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_target_has_a_corpus():
    assert {path.parent.name for path in INPUTS} == set(TARGETS)
    assert sum(path.stat().st_size for path in INPUTS) < 500_000


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_kept_input_surprises_its_parser(path):
    handled(TARGETS[path.parent.name], path.read_bytes())
