"""Keys are made once, private to their owner, and refused with a clear word when wrong."""

import os

import pytest

from robolearn import keys


def test_a_key_is_made_once_private_and_with_its_public_half(tmp_path):
    file = tmp_path / "keys" / "log.pem"
    first = keys.load_or_create_key(file)
    again = keys.load_or_create_key(file)
    assert keys.public_bytes(first) == keys.public_bytes(again)
    assert file.stat().st_mode & 0o777 == 0o600
    assert keys.key_id(keys.load_public(file.with_suffix(".pub"))) == keys.key_id(first)
    assert [f.name for f in file.parent.iterdir() if f.name.startswith(".")] == []


def test_the_default_place_follows_robolearn_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    keys.load_or_create_key()
    assert (tmp_path / "keys" / "robolearn.pem").exists()


def test_signatures_hold_for_their_bytes_and_key_only(tmp_path):
    key, other = keys.load_or_create_key(tmp_path / "a.pem"), keys.load_or_create_key(tmp_path / "b.pem")
    signature = keys.sign(key, b"data")
    assert keys.verify(key, b"data", signature)
    assert keys.verify(keys.public_text(key), b"data", signature)
    assert not keys.verify(key, b"datA", signature)
    assert not keys.verify(other, b"data", signature)
    assert not keys.verify(key, b"data", "not base64!")
    assert not keys.verify(key, b"data", "")
    assert keys.sign(key, b"data") == signature


def test_a_key_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "a.pem"
    keys.load_or_create_key(file)
    os.chmod(file, 0o644)
    with pytest.raises(keys.KeyFileError, match="is readable by other accounts .mode 644.*chmod 600"):
        keys.load_or_create_key(file)


def test_what_is_no_key_is_refused(tmp_path):
    file = tmp_path / "a.pem"
    file.write_text("hello")
    file.chmod(0o600)
    with pytest.raises(keys.KeyFileError, match="is not a private key in PEM form"):
        keys.load_key(file)
    with pytest.raises(keys.KeyFileError, match="Cannot read the key file"):
        keys.load_key(tmp_path / "missing.pem")
    with pytest.raises(keys.KeyFileError, match="Cannot read the key file.*Not a directory"):
        keys.load_or_create_key(file / "below.pem")
    with pytest.raises(keys.KeyFileError, match="Not an Ed25519 public key"):
        keys.load_public("abc")
