"""What is at a path where a file is to be written: links are replaced, what is no file is refused."""

import os
import stat

import pytest

from robolearn.cli import app as cli
from robolearn.errors import ConfigError
from robolearn.files.writing import replace_file


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_text("kept")
    link.symlink_to(precious)
    replace_file(link, "new")
    assert not link.is_symlink()
    assert (precious.read_text(), link.read_text()) == ("kept", "new")


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket"])
def test_what_is_no_file_is_refused_and_stays(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    else:
        os.mknod(path, (stat.S_IFIFO if kind == "fifo" else stat.S_IFSOCK) | 0o600)
    before = path.lstat()
    with pytest.raises(OSError, match="expected a regular file"):
        replace_file(path, "new")
    assert path.lstat() == before
    assert os.listdir(tmp_path) == [kind]  # nothing left beside it


def test_a_picture_is_written_as_a_whole_or_refused(tmp_path):
    """It followed a link, and where the name had no ending it wrote another file than it said."""
    from robolearn.show.plots import figure

    picture, _ = figure()
    precious, link, plain = tmp_path / "precious", tmp_path / "link.png", tmp_path / "folder"
    precious.write_text("kept")
    link.symlink_to(precious)
    plain.mkdir()
    assert picture.write(link) == link
    assert (precious.read_text(), link.read_bytes()[:4]) == ("kept", b"\x89PNG")
    for wrong in (plain, tmp_path / "curves", tmp_path / "x.docx"):
        with pytest.raises(ConfigError, match="a picture's name ends in .png, .svg, .pdf"):
            picture.write(wrong)
    with pytest.raises(ConfigError, match="Cannot write .*File exists"):
        picture.write(precious / "curves.png")
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "link.png", "folder"}


def test_a_video_replaces_a_link(tmp_path):
    import numpy as np

    from robolearn.show.film import write_video

    precious, link = tmp_path / "precious.mp4", tmp_path / "video.mp4"
    precious.write_text("kept")
    link.symlink_to(precious)
    write_video([np.zeros((64, 64, 3), np.uint8)] * 3, link, 25.0)
    assert precious.read_text() == "kept"
    assert not link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"precious.mp4", "video.mp4"}


def test_a_command_that_cannot_write_says_so_in_one_line(tmp_path, capsys):
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SystemExit) as end:
        cli.main(["controller", "fr3", "-o", str(tmp_path / "folder.yaml")])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"robolearn: '{tmp_path / 'folder.yaml'}': is a directory, expected a regular file.\n"
    )
