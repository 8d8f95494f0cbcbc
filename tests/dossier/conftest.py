import sys
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).parents[1] / name) for name in ("policy", "cli", "learn", "")
]  # their helpers
