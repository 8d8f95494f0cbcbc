"""What a GPU makes of the whole loop, in at most eight minutes: `python -m benchmarks.gpu`.

    python -m benchmarks.gpu [--small] [--engine warp] [--only PART ...] [--minutes 8] [--out FILE]

Each part is a process of its own with a time limit. What it has found is written at once, so that a part that fails, or
runs out of time, leaves what it had, says why, and the others still run. Where JAX sees no GPU it ends after the first
part. --small: a dry run on a CPU, of about nine minutes of processor time; its figures mean nothing, and it does not
write to the file of the measured ones. The documentation's table is made of docs/results/gpu.json (`docs/gpu_page.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import gpu_needs
from robolearn.files.writing import replace_file

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "gpu.json"
SMALL_RESULTS = ROOT / "build" / "gpu-small.json"

# name: (seconds it may take, what it finds). What matters most comes first: the last ones get what time is left.
PARTS: dict[str, tuple[float, str]] = {
    "device": (50, "the device, its driver, versions"),
    "kernels": (120, "seconds to compile warp's kernels for the three tasks"),
    "steps": (100, "physics steps/s of bare mujoco_warp and of our engine, by number of simulations"),
    "train_pick_cube": (75, "control steps/s of PPO, all in, and where the time goes"),
    "agreement": (45, "the engine beside native, from the same starts with the same commands"),
    "learn_reach": (40, "seconds to 90 % and 99 % success with the task's expert"),
    "train_reach": (50, "control steps/s of PPO, all in, and where the time goes"),
    "train_peg_insert": (60, "control steps/s of PPO, all in, and where the time goes"),
    "learn_pick_cube": (60, "seconds to 90 % and 99 % success with the task's expert"),
    "learn_reach_alone": (40, "seconds to 90 % and 99 % success without an expert"),
    "learn_pick_cube_alone": (60, "seconds to 90 % and 99 % success without an expert"),
    "memory": (90, "peak memory of the device by number of environments"),
    "graphs": (60, "our engine by the way that warp makes CUDA graphs"),
}
GPUS = ("gpu", "cuda", "rocm")  # as JAX names its platforms
ENDINGS = ("finished", "failed", "out of time", "not begun")
Command = Callable[[str, Path, str, bool], list[str]]
LAST_LINES = 25  # of what a part printed that did not finish
_LEAST_S = 8.0  # a part with less time than this would only have started Python
# A dry run: processor time of a part, s, and minutes of all of them. Where two cores do nothing else a part takes about
# a minute, most of it compiling; a limit of elapsed time would depend on what others leave of them.
_SMALL_CPU_S, _SMALL_MINUTES = 240, 60.0


class NotReady(Exception):
    """There is nothing to measure with: a package is missing, the first part failed, or JAX sees no GPU."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:22s} {limit:4.0f} s  {what}" for name, (limit, what) in PARTS.items()))
        return 0
    if options.part:
        from benchmarks.gpu_parts import run_part

        run_part(options.part, options.into, options.engine, small=options.small)
        return 0
    out = options.out or (SMALL_RESULTS if options.small else RESULTS)
    if options.small and out.resolve() == RESULTS.resolve():
        raise SystemExit(f"{out} is for what a GPU does. Give another --out for a dry run.")
    minutes = options.minutes or (_SMALL_MINUTES if options.small else 8.0)
    names = options.only if options.small else ["device", *(n for n in options.only if n != "device")]
    try:
        _require_packages(options.engine)
        report = run(names, out, engine=options.engine, minutes=minutes, small=options.small)
    except NotReady as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Written to {out}.")
    return 0 if all(part["ending"] == "finished" for part in report["parts"].values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a dry run on a CPU")
    parser.add_argument("--engine", choices=("warp", "jax"), default="warp")
    parser.add_argument("--only", nargs="*", choices=[*PARTS], default=[*PARTS], metavar="PART")
    parser.add_argument("--minutes", type=float, help="for all parts together (8; with --small 60)")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="say what parts there are")
    parser.add_argument("--part", choices=[*PARTS], help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    return parser


def part_command(name: str, into: Path, engine: str, small: bool) -> list[str]:
    """What runs one part, and writes what it finds into a file."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--part",
        name,
        "--into",
        str(into),
        "--engine",
        engine,
    ]
    return [*command, "--small"] if small else command


def run(
    names: list[str],
    out: Path,
    *,
    engine: str,
    minutes: float,
    small: bool,
    command: Command | None = None,
) -> dict[str, Any]:
    """Run the named parts one after another; the report is on disk after each of them, and while they run."""
    deadline = time.monotonic() + 60.0 * minutes
    report: dict[str, Any] = {
        "small": small,
        "engine": engine,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "parts": {},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with _ended_by_sigterm():
        _run_parts(names, report, out, deadline, command or part_command)
    return report


def _run_parts(
    names: list[str], report: dict[str, Any], out: Path, deadline: float, command: Command
) -> None:
    small, begun = report["small"], time.monotonic()
    for name in names:
        left = deadline - time.monotonic()
        limit = left if small else min(PARTS[name][0], left)
        if limit < _LEAST_S:
            used = f"the time was used up after {time.monotonic() - begun:.0f} s"
            report["parts"][name] = {"ending": "not begun", "why": used}
        else:
            _run_part(name, limit, report, out, command)
            if name == "device" and _unknown(report["parts"][name]):
                # once more: packages were read from the disk for the first time
                _run_part(name, min(limit, deadline - time.monotonic()), report, out, command)
        print(_line(name, report["parts"][name]), flush=True)
        if name == "device":
            _require_first(report["parts"][name])
            if not small:
                _require_gpu(report["parts"][name].get("found", {}))
        _write(out, report)


def _require_packages(engine: str) -> None:
    """Raises NotReady for what is not installed: parts would find it out one by one."""
    if missing := gpu_needs.missing(engine):
        lines = "\n  ".join(missing)
        raise NotReady(
            f"{sys.executable} (Python {sys.version.split()[0]}) lacks what the measurement needs:\n  {lines}\n"
            "Nothing was started. Add their wheels to the folder that gpu.sh is given, or name another PYTHON."
        )


def _require_first(part: Mapping[str, Any]) -> None:
    """Raises NotReady where the part failed, or found nothing, that only asks for the device: so would all others."""
    if part["ending"] == "failed" or _unknown(part):
        said = "\n  ".join(part.get("said", []))
        raise NotReady(
            f"The part 'device' did not finish ({part['why']}), and the others were not begun:\n  {said}"
        )


def _unknown(part: Mapping[str, Any]) -> bool:
    """Whether the part that asks for the device ran out of time before it knew the device."""
    return part["ending"] == "out of time" and "platform" not in part["found"]


def _require_gpu(device: Mapping[str, Any]) -> None:
    """Raises NotReady before eight minutes are spent on a CPU, and a file of measured figures is lost to them."""
    if (platform := device.get("platform")) not in (None, *GPUS):
        raise NotReady(
            f"JAX {device.get('versions', {}).get('jax', '')} runs on '{platform}' and sees no GPU (nvidia-smi says: "
            f"{device.get('nvidia_smi', 'nothing')}). Name a Python whose JAX has CUDA (PYTHON of gpu.sh), or --small."
        )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends what runs as an interrupt from the keyboard does: the part that is running ends, too."""

    def end(number: int, frame: Any) -> None:
        del frame
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_part(name: str, limit_s: float, report: dict[str, Any], out: Path, command: Command) -> None:
    """Run one part in a process of its own; report["parts"][name] is how it ended and what it found."""
    part: dict[str, Any] = {"ending": "out of time", "limit_s": round(limit_s, 1), "took_s": 0.0, "found": {}}
    report["parts"][name] = part
    with tempfile.TemporaryDirectory(prefix="robolearn-gpu-") as folder:
        into, said = Path(folder) / "found.json", Path(folder) / "said.txt"
        words = command(name, into, report["engine"], report["small"])
        begun, used = time.monotonic(), _cpu_s()
        with said.open("w") as log:
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=environment(report["small"]),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            if report["small"]:  # at this limit it ends by SIGXCPU
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (_SMALL_CPU_S, _SMALL_CPU_S + 5))
            try:
                while process.poll() is None and time.monotonic() - begun < limit_s:
                    time.sleep(0.2)
                    if (now := _read(into)) != part["found"]:
                        part["found"] = now
                        if name != "device":  # it says first whether there is anything to measure
                            _write(out, report)
                ended = process.poll() is not None
            finally:
                if process.poll() is None:  # whatever it started ends with it
                    os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
        part["took_s"] = round(time.monotonic() - begun, 1)
        part["cpu_s"] = round(_cpu_s() - used, 1)
        part["found"] = _read(into)
        if ended:
            part["ending"] = "failed" if code else "finished"
        if part["ending"] != "finished":
            part["why"] = f"killed after {limit_s:.0f} s" if not ended else _exit_text(code)
            part["said"] = said.read_text(errors="replace").splitlines()[-LAST_LINES:]


def _cpu_s() -> float:
    """Processor time, s, of the parts that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def environment(small: bool = False, around: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of a part: memory is taken as it is needed, so that its peak can be read. small: of programs that run a few
    times only, most of the time would go into compiling.
    """
    flags = [around.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
    if version("jax").startswith("0.10."):  # a flag that XLA does not know ends the process
        flags.append("--xla_cpu_use_fusion_emitters=false")
    quick = {"XLA_FLAGS": " ".join(flags).strip()}
    return {
        **around,
        "PYTHONPATH": os.pathsep.join([
            str(ROOT), str(ROOT / "envs"), str(ROOT / "ros2_ws" / "src" / "robolearn_ros"),
            *filter(None, [around.get("PYTHONPATH")]),
        ]),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "WANDB_MODE": "disabled",
        **(quick if small else {}),
    }  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(values, indent=1) + "\n")


def _exit_text(code: int) -> str:
    if code == -signal.SIGXCPU:
        return f"{_SMALL_CPU_S} s of processor time were used up"
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def _commit() -> str:
    """The commit, `+` where the tree differs from it; empty where there is no git or no repository."""
    found = []
    for arguments in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        found.append(done.stdout.strip())
    return found[0] + ("+" if found[1] else "")


def _line(name: str, part: Mapping[str, Any]) -> str:
    took = f"{part['took_s']:6.1f} s" if "took_s" in part else " " * 8
    said = next((line for line in reversed(part.get("said", [])) if line.strip()), "")
    return f"{name:22s} {part['ending']:12s} {took}  {part.get('why', '')}  {said[:160]}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
