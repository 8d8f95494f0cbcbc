"""Review of a safety log: verification, replay, report."""
