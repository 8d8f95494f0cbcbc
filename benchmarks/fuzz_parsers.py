"""A coverage-guided fuzzer against every parser of files that others may have written (`tests/parsers/targets.py`).

    python benchmarks/fuzz_parsers.py                   # every target in turn, two minutes each
    python benchmarks/fuzz_parsers.py trace --seconds 3600

A finding (an exception that no caller handles, an input that takes more than ten seconds or two gigabytes) ends the
target with exit status 1; the input is in build/fuzz/TARGET. Put it into tests/parsers/corpus/TARGET when it is mended:
the tests replay that folder. What else the fuzzer keeps grows in build/fuzz/TARGET/corpus.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARSERS = ROOT / "tests" / "parsers"
LONGEST = {"log": 4096, "trace": 32768, "bundle": 65536, "graph": 16384, "profile": 16384, "robot": 16384}


def fuzz(target: str, seconds: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    sys.path[:0] = [str(PARSERS), str(PARSERS.parent)]
    os.environ["ROBOLEARN_HOME"] = str(ROOT / "build" / "fuzz" / "home")
    with atheris.instrument_imports(include=["robolearn"]):
        from targets import TARGETS, handled

    folder = ROOT / "build" / "fuzz" / target
    kept = folder / "corpus"
    kept.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-max_len={LONGEST.get(target, 4096)}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept), str(PARSERS / "corpus" / target)],
                  lambda data: handled(TARGETS[target], data))  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    sys.path[:0] = [str(PARSERS), str(PARSERS.parent)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help="names in tests/parsers/targets.py; all without one")
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz(options.targets[0], options.seconds)
    from targets import TARGETS

    failed = []
    for target in options.targets or TARGETS:
        command = [sys.executable, __file__, target, "--seconds", str(options.seconds), "--here"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        stats = dict(
            line.removeprefix("stat::").split(":")
            for line in done.stderr.splitlines()
            if line.startswith("stat::")
        )
        runs = int(stats.get("number_of_executed_units", 0))
        print(f"{target:10} {runs:>10,} inputs {'ok' if done.returncode == 0 else 'FINDING'}", flush=True)
        if done.returncode:
            failed.append(target)
            print("\n".join(done.stderr.splitlines()[-25:]), flush=True)
    print(
        f"{len(failed)} of {len(options.targets or TARGETS)} targets have a finding"
        + (f": {', '.join(failed)}" if failed else "")
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
