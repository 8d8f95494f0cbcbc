"""Reads regular files, up to a size that the caller names: no device, no FIFO, no endless file.

Everything that is refused is an OSError whose `strerror` says why, so that a caller treats it like a missing file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISSOCK, "is a socket"),
)


def open_regular(path: str | Path, *, follow: bool = True) -> BinaryIO:
    """A regular file, opened for reading without ever waiting for another process.

    follow: whether the path itself may be a symbolic link. Raises OSError, also for what is not a regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except ValueError:
        raise OSError(errno.EINVAL, "its name holds a null character", str(path)) from None
    except OSError as error:
        if not follow and error.errno == errno.ELOOP and Path(path).is_symlink():
            raise OSError(errno.ELOOP, "is a symbolic link, expected a file of its own", str(path)) from None
        raise
    try:
        require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(mode: int, path: str | Path) -> None:
    """Raises OSError where a file's mode is not that of a regular file."""
    if not stat.S_ISREG(mode):
        kind = next((text for test, text in _KINDS if test(mode)), "is of an unknown kind")
        raise OSError(errno.EINVAL, f"{kind}, expected a regular file", str(path))


def read_regular(path: str | Path, max_bytes: int, *, follow: bool = True) -> bytes:
    """The content of a regular file of at most max_bytes. Raises OSError like `open_regular`, and EFBIG."""
    with open_regular(path, follow=follow) as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(
            errno.EFBIG, f"is larger than the {max_bytes:,} bytes that are read of such a file", str(path)
        )
    return data
