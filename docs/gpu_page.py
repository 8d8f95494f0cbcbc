"""The page of what was measured on a GPU, from docs/results/gpu.json; without that file it says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PARITY = Path(__file__).parent / "results" / "parity.json"
HEAD = """# Measured on a GPU

`benchmarks/gpu.sh WHEELS`, or `python -m benchmarks.gpu` where everything is installed, measures it in at most eight
minutes and writes `docs/results/gpu.json`, of which this page is made.
"""
NOT_YET = (
    "**Not measured yet**: no machine with a GPU could be had. On paper: [Scaling](../explain/scaling.md)."
)
PARITY_TEXT = """`python -m benchmarks.parity --tasks TASK --engines ENGINE --envs N --seconds S --out FILE`, with
docs/results/parity.json for FILE: S seconds of the task's expert in both engines, from the same starts with the same
drawn physics, on a CPU. *Goal met*: share of the environments, at some time within S (fr3/stack: not within 2 s).
*Push*: what constraints push with on the objects or the drawer, mean over time. *Moved*: from start to end. Allowed are
0.10 of goals, 10 % of native's push (or 0.2 N), 10 % of its motion (or 5 mm). An engine agrees where the 95 % interval
of the mean difference between the same environments (Student's t) lies within what is allowed, does not where it lies
outside, and otherwise N is too small to decide; such a row was repeated with more environments. What is not in the
table was not run.

Between two boxes or meshes MJX returns four contact points, and repeats some of them where fewer touch: on an edge or a
corner up to four equal contacts held what `native` holds by one or two. The engine `jax` leaves repeats out
(`robolearn/sim/contacts.py`): in fr3/pick_cube it pushed with 3.05 N where `native` has 2.72 N, and now with 2.71 N
(8 environments). A difference remains: of two boxes that are tilted against each other by an angle, MJX
gives the depth along the normal of the tilted face, 1 / cos of the angle too much. In a scene of two boxes a corner is
pushed 0.4 % harder than in `native` at 0.1 rad, and 4 % at 0.3 rad; with repeats it was 4 % and 9 %.

On a CPU the engine `jax` can wait forever where environments are many: jaxlib 0.10.2 factorises batches of matrices on
the threads that wait for them, and two such factorisations at a time take them all. Seen with 768 environments of
fr3/peg_insert on two cores, and without robolearn with 4,096 matrices. There the engine `auto` is `native`.
"""


def gpu_page(path: Path = RESULTS, parity: Path = PARITY) -> str:
    """The page as Markdown: of parity, which a CPU tells too, and of a GPU."""
    return "\n".join(filter(None, [_gpu(path), _parity(parity)]))


def _parity(path: Path) -> str:
    if not path.is_file():
        return ""
    rows = []
    found = json.loads(path.read_text(encoding="utf-8")).items()
    for name, row in sorted(
        found, key=lambda item: (*item[0].split()[:2], item[1]["seconds"], item[1]["envs"])
    ):
        task, engine = name.split()[:2]
        rows.append((task, engine, row["envs"], f"{row['seconds']:g}", *_pairs(row), _verdict(row)))
    if not rows:
        return ""
    head = ("task", "engine", "N", "S", "goal met", "push, N", "moved, m", "agrees")
    title, _, body = _section("Engines through contact: native / engine (difference)", head, rows).partition(
        "\n\n"
    )
    return f"{title}\n\n{PARITY_TEXT}\n{body}"


def _gpu(path: Path) -> str:
    if not path.is_file():
        return f"{HEAD}\n{NOT_YET}\n"
    report = json.loads(path.read_text(encoding="utf-8"))
    parts = report["parts"]
    device = parts.get("device", {}).get("found", {})
    if report["small"] or device.get("platform") not in ("gpu", "cuda", "rocm"):
        return f"{HEAD}\n{NOT_YET}\n"
    sections = [
        HEAD,
        _on(report, device),
        _steps(parts),
        _training(parts),
        _learning(parts),
        _agreement(parts),
    ]
    return "\n".join(filter(None, [*sections, _memory(parts), _graphs(parts), _endings(parts)]))


def _on(report: Mapping[str, Any], device: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {which}" for name, which in device["versions"].items())
    return (
        f"{device['count']} x {device['kind']} ({device['nvidia_smi']}), {report['date']}, commit "
        f"{report['commit'] or 'not known'}; {versions}. Engine: `{report['engine']}`.\n"
    )


def _steps(parts: Mapping[str, Any]) -> str:
    found = _found(parts, "steps")
    rows = [
        (n, *(_count(row.get(f"{name}_per_s")) for name in ("bare", "engine", "engine_drawn")),
         _share(row.get("engine_per_bare")), _mb(row.get("peak_bytes")))
        for n, row in found.get("by_num_envs", {}).items()
    ]  # fmt: skip
    head = ("simulations", "bare mujoco_warp", "our engine", "with drawn physics", "ours / bare", "peak, MB")
    return _section(f"Physics steps/s, {found.get('task')}", head, rows)


def _training(parts: Mapping[str, Any]) -> str:
    rows = []
    for name, task in _tasks(parts, "train_"):
        found = _found(parts, name)
        whole = found.get("iteration_s")
        times = [found.get(key) for key in ("environments_alone_s", "physics_alone_s")]
        shares = [_share(took / whole if took and whole else None) for took in times]
        on_device = found.get("device_time", {})
        rows.append((task, found.get("num_envs"), _count(found.get("control_steps_per_s")), *shares,
                     on_device.get("launches", "-"), on_device.get("device_to_host_copies", "-"),
                     _seconds(found.get("compile_s")), _mb(found.get("peak_bytes"))))  # fmt: skip
    head = ("task", "environments", "control steps/s, all in", "environments alone", "physics alone", "launches",
            "copies to the host", "compiling, s", "peak, MB")  # fmt: skip
    return _section("Training, PPO all in", head, rows)


def _learning(parts: Mapping[str, Any]) -> str:
    rows = []
    for name, task in _tasks(parts, "learn_"):
        found, alone = _found(parts, name), task.endswith("_alone")
        reached = found.get("reached", {})
        times = [_seconds(reached.get(mark, {}).get("after_compiling_s")) for mark in ("0.90", "0.99")]
        rows.append((task.removesuffix("_alone"), "no" if alone else "yes", found.get("num_envs"), *times,
                     _seconds(found.get("compiled_after_s")), _share(found.get("best_success"))))  # fmt: skip
    head = (
        "task",
        "expert",
        "environments",
        "90 % after, s",
        "99 % after, s",
        "ready to train after, s",
        "best",
    )
    return _section("Learning, from the end of compiling", head, rows)


def _agreement(parts: Mapping[str, Any]) -> str:
    found = _found(parts, "agreement")
    rows = []
    for task, row in found.get("by_task", {}).items():
        rows.append((task, *_pairs(row), _verdict(row)))
    head = ("task", "goal met", "push, N or Nm", "moved, m or rad", "agrees")
    return _section(f"Native / this engine, over {found.get('seconds')} s", head, rows)


def _pairs(row: Mapping[str, Any]) -> list[str]:
    """Native's mean and the other's, and the 95 % interval of the difference."""
    cells = []
    for name in ("achieved", "force", "moved"):
        low, high = row.get("difference", {}).get(name, (None, None))
        apart = "" if low is None else f" ({low:+.2g} to {high:+.2g})"
        cells.append(f"{row['native'][name]:.3g} / {row['other'][name]:.3g}{apart}")
    return cells


def _verdict(row: Mapping[str, Any]) -> str:
    if "difference" not in row:
        return "means only"
    return "; ".join(row["wrong"]) or ("not decided: " + ", ".join(row["open"]) if row["open"] else "yes")


def _memory(parts: Mapping[str, Any]) -> str:
    rows = [
        (n, _mb(row.get("state_bytes")), _mb(row["program_bytes"]["temp"]), _mb(row.get("peak_bytes")))
        for n, row in _found(parts, "memory").get("by_num_envs", {}).items()
    ]
    return _section("Memory of a training, MB", ("environments", "state", "XLA's temporaries", "peak"), rows)


def _graphs(parts: Mapping[str, Any]) -> str:
    rates = _found(parts, "graphs").get("engine_drawn_per_s", {})
    rows = [(mode, _count(rate)) for mode, rate in rates.items()]
    return _section("CUDA graphs of warp", ("mode", "physics steps/s"), rows)


def _endings(parts: Mapping[str, Any]) -> str:
    rows = [(n, p["ending"], p.get("why", "")) for n, p in parts.items() if p["ending"] != "finished"]
    return _section("Parts that did not finish", ("part", "ending", "why"), rows)


def _found(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    return parts.get(name, {}).get("found", {})


def _tasks(parts: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    return [(name, name.removeprefix(prefix)) for name in parts if name.startswith(prefix)]


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table under its title; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _mb(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.0f}"
