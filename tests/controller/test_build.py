"""How the filter gets from C++ into Python."""

import pytest
from robolearn_ros import stream_filter

from robolearn.errors import ConfigError


def test_it_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path))
    made = stream_filter.build()
    assert list(tmp_path.iterdir()) == [made]
    before = made.stat().st_mtime_ns
    assert stream_filter.build() == made
    assert made.stat().st_mtime_ns == before
    assert stream_filter._declared(stream_filter.ctypes.CDLL(str(made))).robolearn_filter_reason_text(1) == (
        b"the stream ended"
    )


def test_no_compiler_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"No C\+\+ compiler was found.*apt install g\+\+"):
        stream_filter.build()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"no-such-compiler"):
        stream_filter.build()


def test_what_the_compiler_says_is_passed_on(tmp_path, monkeypatch):
    source = tmp_path / stream_filter.NAME
    (source / "src").mkdir(parents=True)
    (source / "src" / "c_api.cpp").write_text("this is no C++")
    monkeypatch.setattr(stream_filter, "controller_source", lambda: source)
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"c_api\.cpp.*error"):
        stream_filter.build()
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="Set ROBOLEARN_CACHE"):
        stream_filter.build()
