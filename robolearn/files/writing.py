"""Writes a file as a whole: readers see the old content or the new one, and a planted link is never followed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robolearn.files.reading import require_regular


def replace_file(
    path: str | Path, data: bytes | str, mode: int = 0o644, write: Callable[[int, Any], int] = os.write
) -> Path:
    """Write data to path by way of a new file beside it, which then takes its place; the path.

    A symbolic link at `path` is replaced, not followed; a device, a folder or a socket there is refused. mode: of the
    new file, less the umask. Text is UTF-8. Raises OSError; the old content is then still there, and nothing else is
    left behind.
    """
    file = Path(path)
    if os.path.lexists(file) and not file.is_symlink():
        require_regular(os.lstat(file).st_mode, file)
    partial = file.with_name(f".{file.name[:128]}.{secrets.token_hex(8)}.partial")
    content = memoryview(data.encode("utf-8") if isinstance(data, str) else data)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            while content:
                content = content[write(descriptor, content) :]
        finally:
            os.close(descriptor)
        os.replace(partial, file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return file


def create_file(path: str | Path, data: bytes, mode: int = 0o644) -> Path:
    """Write a file that does not exist yet, nor as a link. Raises OSError, FileExistsError among them."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    return Path(path)


def append_line(path: str | Path, line: bytes, mode: int = 0o644) -> None:
    """Add a line to a file, which is made where there is none and is never a link. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "ab") as stream:
        stream.write(line + b"\n")
