"""The bytes of a bundle: a zip whose every byte is fixed by its parts, so that any altered byte is found and placed.

Stored without compression, in a fixed order, with the zip epoch as time stamp. Any zip tool opens it. Reading
rebuilds the archive from the parts and compares; the copy of each checksum in the local header and the one in the
central directory tell which of header, directory and content was altered.
Format: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end record).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from robolearn.errors import BundleError

PARTS = ("policy.onnx", "manifest.json", "MODEL_CARD.md", "signature.json")

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_EPOCH_DATE = (1 << 5) | 1  # 1980-01-01, the earliest date a zip can hold
_MADE_BY_UNIX, _VERSION, _MODE = 3 << 8 | 20, 20, 0o100644 << 16


def pack(parts: Mapping[str, bytes]) -> bytes:
    """The archive that holds exactly `PARTS`, in order."""
    body, directory = bytearray(), bytearray()
    for name in PARTS:
        data, label = parts[name], name.encode("ascii")
        crc, size, offset = zlib.crc32(data), len(data), len(body)
        body += _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, 0, _EPOCH_DATE, crc, size, size, len(label), 0)
        body += label + data
        directory += _CENTRAL.pack(
            *(b"PK\x01\x02", _MADE_BY_UNIX, _VERSION, 0, 0, 0, _EPOCH_DATE, crc, size, size, len(label)),
            *(0, 0, 0, 0, _MODE, offset),
        )
        directory += label
    end = _END.pack(b"PK\x05\x06", 0, 0, len(PARTS), len(PARTS), len(directory), len(body), 0)
    return bytes(body + directory + end)


def unpack(archive: bytes, where: str) -> dict[str, bytes]:
    """The parts of an archive that `pack` made. Raises BundleError that names the part that was altered."""
    parts, checksums, offset = {}, {}, 0
    for name in PARTS:
        label = name.encode("ascii")
        start = offset + _LOCAL.size + len(label)
        if len(archive) < start or archive[start - len(label) : start] != label:
            raise _broken(where, f"'{name}' is not where it must be")
        header = _LOCAL.unpack_from(archive, offset)
        checksums[name], size = header[6], header[8]
        if start + size > len(archive):
            raise _broken(where, f"'{name}' was cut")
        parts[name], offset = archive[start : start + size], start + size
    rebuilt = pack(parts)
    if rebuilt == archive:
        return parts
    if len(rebuilt) == len(archive):
        for name in PARTS:
            crc = zlib.crc32(parts[name])
            if crc != checksums[name] == _central_checksum(archive, offset, name):
                raise BundleError(
                    f"{where}: '{name}' was altered: its checksum is wrong. Get the bundle again."
                )
    raise _broken(where, "bytes between or after its parts were altered")


def _central_checksum(archive: bytes, directory: int, wanted: str) -> int:
    """The checksum of a part in a central directory that begins at byte `directory`."""
    for name in PARTS:
        if name == wanted:
            break
        directory += _CENTRAL.size + len(name)
    return _CENTRAL.unpack_from(archive, directory)[7]


def _broken(where: str, detail: str) -> BundleError:
    return BundleError(
        f"{where}: not a robolearn bundle, or one that was cut or altered: the archive structure is wrong ({detail})."
    )
