"""Key files: regular, for the owner's eyes, in a folder that only the owner changes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from robolearn import keys


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "loop", "empty", "rsa"])
def test_what_is_no_key_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "k.pem"
    if kind == "rsa":
        path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    else:
        {
            "fifo": os.mkfifo,
            "directory": os.mkdir,
            "device": lambda p: p.symlink_to("/dev/zero"),
            "loop": lambda p: p.symlink_to(p),
            "empty": lambda p: p.touch(),
        }[kind](path)
    if kind in ("fifo", "empty", "rsa"):
        path.chmod(0o600)
    with pytest.raises(keys.KeyFileError, match="Cannot read the key file|is not a private key"):
        keys.load_key(path)
    with pytest.raises(keys.KeyFileError, match="public key"):
        keys.load_public(path)


def test_a_link_to_a_key_that_others_may_read_is_refused(tmp_path):
    keys.load_or_create_key(tmp_path / "real.pem")
    (tmp_path / "real.pem").chmod(0o644)
    (tmp_path / "link.pem").symlink_to(tmp_path / "real.pem")
    with pytest.raises(keys.KeyFileError, match="is readable by other accounts"):
        keys.load_key(tmp_path / "link.pem")


def test_a_key_in_a_folder_that_anybody_may_change_is_refused(tmp_path):
    folder = tmp_path / "keys"
    keys.load_or_create_key(folder / "k.pem")
    folder.chmod(0o777)
    with pytest.raises(keys.KeyFileError, match="can be replaced by any account.*Run `chmod o-w"):
        keys.load_key(folder / "k.pem")
    folder.chmod(0o1777)  # as /tmp: only the owner may replace what lies there
    keys.load_key(folder / "k.pem")


def test_folders_that_are_made_for_a_key_are_for_the_owner_alone_whatever_the_umask(tmp_path):
    code = (
        "import os, sys; os.umask(0); from robolearn import keys;"
        "keys.load_or_create_key(sys.argv[1] + '/home/keys/k.pem')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777 for name in ("home", "home/keys", "home/keys/k.pem")
    }
    assert modes == {"home": 0o700, "home/keys": 0o700, "home/keys/k.pem": 0o600}


def test_a_planted_link_of_the_public_half_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "k.pub").symlink_to(victim)
    keys.load_or_create_key(tmp_path / "k.pem")
    assert victim.read_text() == "precious"
    assert keys.load_public(tmp_path / "k.pub")
