"""`make bench`, or `python -m benchmarks NAME ...`: run every benchmark, or those named, one after another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NOT_SPEED = {
    "__init__", "__main__", "calibrated_policies", "fuzz_monitor", "gpu", "gpu_parts", "gpu_physics", "gpu_trace",
    "grippers_ros", "paper", "parity", "room", "solve", "sysid",
}  # fmt: skip


def main() -> int:
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_SPEED)
    chosen = sys.argv[1:] or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        print(f"Unknown benchmark '{unknown[0]}'. Available: {', '.join(known)}.", file=sys.stderr)
        return 2
    failed = []
    for name in chosen:
        print(f"\n== {name} ==", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if subprocess.run(command, cwd=FOLDER.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
