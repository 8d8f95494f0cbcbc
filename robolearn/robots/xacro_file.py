"""Expanding a xacro file, its packages found where those of meshes are, with or without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robolearn.errors import RobotError
from robolearn.robots.resources import find_package


def expanded_xacro(path: Path, arguments: dict[str, str], package_dirs: Sequence[Path] = ()) -> bytes:
    """The URDF text of a xacro file. `$(find PACKAGE)` means what `package://PACKAGE` does. Raises RobotError."""
    return _expand(path, arguments, package_dirs)[0]


def portable_xacro(path: Path, arguments: dict[str, str], package_dirs: Sequence[Path] = ()) -> bytes:
    """`expanded_xacro` with `package://NAME` for the folder of each package, so that it does not matter where it is."""
    text, found = _expand(path, arguments, package_dirs)
    for name, folder in sorted(found.items(), key=lambda item: -len(item[1])):  # one may lie in another
        for known in (f"file://{folder}", folder):
            text = text.replace(known.encode(), f"package://{name}".encode())
    return text


def _expand(
    path: Path, arguments: dict[str, str], package_dirs: Sequence[Path]
) -> tuple[bytes, dict[str, str]]:
    """The URDF text, and the folder of each package that was asked for."""
    try:
        import xacro
        from xacro import substitution_args
    except ModuleNotFoundError:
        raise RobotError(
            f"'{path}' is a xacro file, and xacro is not installed: pip install 'robolearn[arms]', or "
            f"expand it first: xacro {path.name} > {path.name.split('.')[0]}.urdf"
        ) from None
    try:
        with _packages_found(substitution_args, path.parent, package_dirs) as found:
            return xacro.process_file(str(path), mappings=dict(arguments)).toxml().encode(), found
    except Exception as error:  # whatever an expression in the file raises
        raise RobotError(
            f"xacro cannot expand '{path}': {type(error).__name__}: {error}. Arguments go under model.xacro_args; "
            "packages are looked for in model.package_dirs too."
        ) from None


@contextmanager
def _packages_found(module: Any, beside: Path, package_dirs: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Let xacro's `find`, which asks the ROS environment alone, use `find_package`; yields what it has found."""
    found: dict[str, str] = {}

    def find(name: str) -> str:
        found[name] = str(find_package(name, beside, package_dirs).resolve())
        return found[name]

    kept, module._eval_find = module._eval_find, find
    module._eval_dict["find"] = find
    try:
        yield found
    finally:
        module._eval_find = module._eval_dict["find"] = kept
