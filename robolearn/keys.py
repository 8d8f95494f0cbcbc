"""Ed25519 keys: made once, kept in a file that only its owner can read, named by a digest of the public half.

The policy bundle and the safety log both sign with these. A key file is PKCS #8 PEM, mode 0600; its public
half is written beside it as `<name>.pub` (raw 32 bytes, base64, one line), which is what others are given.
Signatures are raw 64 bytes, passed around as base64 text so that they fit into JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from robolearn.errors import RobolearnError
from robolearn.files.reading import KIB, open_regular, read_regular
from robolearn.files.writing import replace_file

_KEY_MAX = 64 * KIB


class KeyFileError(RobolearnError):
    """A key file cannot be read, is not an Ed25519 key, or may be read by others."""


def key_directory() -> Path:
    """Where keys live: `$ROBOLEARN_HOME/keys`, else `~/.local/share/robolearn/keys`."""
    home = os.environ.get("ROBOLEARN_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share" / "robolearn") / "keys"


def load_or_create_key(path: str | Path | None = None) -> Ed25519PrivateKey:
    """The private key in `path` (default `<key_directory>/robolearn.pem`), made on first use with mode 0600.

    Raises KeyFileError where the file is not an Ed25519 key, cannot be made, or is readable by group or others.
    """
    file = Path(path) if path is not None else key_directory() / "robolearn.pem"
    if not file.exists():
        try:
            _create(file)
        except FileExistsError:
            pass  # another process made it in the meantime: use that one
        except OSError as error:
            raise KeyFileError(
                f"Cannot write the key file {file}: {error.strerror}. Give another path."
            ) from error
    return load_key(file)


def named_key(path: str | Path | None, new: bool = False) -> Ed25519PrivateKey:
    """The key that a person named: a file that exists, or with new one that does not yet; None is the default key.

    Raises KeyFileError like `load_or_create_key`. A misspelt name makes no key.
    """
    if path is not None and Path(path).exists() == new:
        raise KeyFileError(
            f"The key file {path} already exists. Leave out --new-key, or give another path."
            if new
            else f"No key file {path}. Correct the path, or create a key there with --new-key."
        )
    return load_or_create_key(path)


def load_key(path: str | Path) -> Ed25519PrivateKey:
    """The private key in `path`; raises KeyFileError like `load_or_create_key`, and where there is none."""
    file = Path(path)
    try:
        with open_regular(file) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_KEY_MAX)
        folder = file.resolve().parent.stat().st_mode
    except OSError as error:
        raise KeyFileError(f"Cannot read the key file {file}: {error.strerror}.") from error
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(
            f"The key file {file} is readable by other accounts (mode {mode & 0o777:o}). Run `chmod 600 {file}`, "
            "and make a new key if anyone else has an account here."
        )
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        raise KeyFileError(
            f"The key file {file} can be replaced by any account: its folder "
            f"is world-writable (mode {folder & 0o7777:o}). "
            f"Run `chmod o-w {file.resolve().parent}`, and make a new key if anyone else has an account here."
        )
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{file} is not a private key in PEM form. Choose another file, or move this one away."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{file} holds a {type(key).__name__}, expected an Ed25519 key.")
    return key


def _create(file: Path) -> None:
    for folder in reversed(
        (file.parent, *file.parent.parents)
    ):  # for the owner alone, each that is made here
        folder.mkdir(exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    # Written beside and linked into place, so that no other process ever reads half a key.
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(private_pem(key))
        os.link(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    replace_file(file.with_suffix(".pub"), public_text(key.public_key()) + "\n")


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_bytes(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """The raw 32 bytes of the public half."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public half as base64, one line: what a `.pub` file, a manifest or a log holds."""
    return base64.b64encode(public_bytes(key)).decode("ascii")


def load_public(text: str | bytes | Path | Ed25519PublicKey) -> Ed25519PublicKey:
    """A public key from base64 text, raw 32 bytes or a `.pub` file; raises KeyFileError for anything else."""
    if isinstance(text, Ed25519PublicKey):
        return text
    try:
        if isinstance(text, Path):
            text = read_regular(text, _KEY_MAX).decode("ascii")
        raw = text if isinstance(text, bytes) else base64.b64decode(text.strip(), validate=True)
        return Ed25519PublicKey.from_public_bytes(raw)
    except (TypeError, AttributeError):
        raise KeyFileError(
            "Not an Ed25519 public key: expected 32 bytes in base64, not another kind."
        ) from None
    except OSError as error:
        raise KeyFileError(f"Cannot read the public key {error.filename}: {error.strerror}.") from error
    except (ValueError, binascii.Error) as error:
        raise KeyFileError(
            "Not an Ed25519 public key: expected 32 bytes in base64, as in a `.pub` file."
        ) from error


def key_id(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """A short name of the key: the first 16 hex digits of the SHA-256 of its public half."""
    return hashlib.sha256(public_bytes(key)).hexdigest()[:16]


def sign(key: Ed25519PrivateKey, data: bytes) -> str:
    """The signature over `data`, base64."""
    return base64.b64encode(key.sign(data)).decode("ascii")


def verify(key: Ed25519PrivateKey | Ed25519PublicKey | str, data: bytes, signature: str) -> bool:
    """Whether `signature` (base64) is `key`'s over `data`. A malformed signature gives False."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else load_public(key)
    try:
        public.verify(base64.b64decode(signature, validate=True), data)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
