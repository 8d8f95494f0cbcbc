"""What `benchmarks/gpu.py` needs of a machine, looked at before anything is started; the standard library is enough.

    python -m benchmarks.gpu_needs FOLDER

makes the tasks of this tree known to a Python that finds packages in FOLDER: tasks are entry points, and a tree that
is only in the path, without being installed, has none.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Distribution: what is imported of it. A measurement exports no policy and reads no recording: jax2onnx, onnxruntime,
# gymnasium, mcap and tensorboardX are not needed.
NEEDS = {
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "optax": "optax",
    "orbax-checkpoint": "orbax.checkpoint",
    "numpy": "numpy",
    "scipy": "scipy.stats",
    "mujoco": "mujoco",
    "mujoco-core": "mujoco._structs",
    "mujoco-mjx": "mujoco.mjx",
    "etils": "etils",
    "trimesh": "trimesh",
    "pydantic": "pydantic",
    "pydantic-core": "pydantic_core",
    "annotated-types": "annotated_types",
    "typing-inspection": "typing_inspection",
    "typing-extensions": "typing_extensions",
    "pyyaml": "yaml",
    "cryptography": "cryptography",
    "cffi": "cffi",
    "pycparser": "pycparser",
    "rfc8785": "rfc8785",
    "zstandard": "zstandard",
}
OF_WARP = {"warp-lang": "warp"}


def missing(engine: str) -> list[str]:
    """What is not there, or of another version than pyproject.toml asks for: one line each."""
    wanted, found = _wanted(), []
    for name, module in (NEEDS | (OF_WARP if engine == "warp" else {})).items():
        asked = f"{name}{wanted.get(name, '')}"
        if not _importable(module):
            found.append(asked)
        elif not _fits(have := _version(name), wanted.get(name, "")):
            found.append(f"{asked} (there is {have})")
    if not entry_points(group="robolearn.tasks"):
        found.append(
            "robolearn itself, which makes its tasks known: benchmarks/gpu.sh does that, or pip install -e ."
        )
    return found


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package that it is in
        return False


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _wanted() -> dict[str, str]:
    """The versions that pyproject.toml asks for, by distribution, such as `>=0.10,<0.12`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    parts = [re.match(r"([\w-]+)(?:\[.*?\])?(.*)", text) for text in asked]
    return {part[1].lower(): part[2].strip() for part in parts if part}


def _fits(have: str, asked: str) -> bool:
    """Whether a version lies in bounds; one that is unknown does."""
    for comparison, bound in re.findall(r"(>=|==|<)\s*([\d.]+)", asked if have else ""):
        a, b = (tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (have, bound))
        a, b = ((*v, 0, 0, 0)[:3] for v in (a, b))
        if not {">=": a >= b, "==": a == b, "<": a < b}[comparison]:
            return False
    return True


def register(folder: Path) -> None:
    """Write the metadata of this tree into a folder of installed packages, as an installation would."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = re.search(
        r'^__version__ = "(.+)"', (ROOT / "robolearn" / "__init__.py").read_text(), re.MULTILINE
    )
    name, number = project["name"], project.get("version") or (found[1] if found else "0")
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        "\n".join(_points(project["entry-points"])) + "\n", encoding="utf-8"
    )


def _points(groups: dict[str, dict[str, str]]) -> Iterator[str]:
    for group, points in groups.items():
        yield f"[{group}]"
        yield from (f"{name} = {target}" for name, target in points.items())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.gpu_needs FOLDER")
    register(Path(sys.argv[1]))
