"""SHA-256 of files and folders, as hex."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from robolearn.files.reading import MIB, open_regular


def file_sha256(path: str | Path, size: int | None = None) -> str:
    """Of a regular file, or of its first `size` bytes. Raises OSError."""
    running, left = hashlib.sha256(), size
    with open_regular(path) as stream:
        while left is None or left > 0:
            block = stream.read(MIB if left is None else min(MIB, left))
            if not block:
                break
            running.update(block)
            left = None if left is None else left - len(block)
    return running.hexdigest()


def folder_sha256(folder: str | Path, files: Iterable[Path] | None = None) -> str:
    """Of every file in a folder, or of those given: their names and contents, whatever the order. Raises OSError."""
    folder, running = Path(folder), hashlib.sha256()
    chosen = folder.rglob("*") if files is None else files
    for path in sorted(path for path in chosen if path.is_file()):
        name = path.relative_to(folder).as_posix()
        running.update(f"{len(name.encode())}:{name}{file_sha256(path)}".encode())
    return running.hexdigest()


def path_sha256(path: str | Path) -> str:
    """Of a file, or of a folder's files. Raises OSError."""
    return folder_sha256(path) if Path(path).is_dir() else file_sha256(path)
