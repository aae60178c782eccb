"""Files are whole or absent, links lead where they led, devices stay devices, errors explain."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest
import torch

from dgl_gmpool._io import atomic_torch_save, atomic_write, atomic_write_text, check_output


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_new_files_follow_the_umask_and_nothing_else_is_left(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "sub" / "a.txt", "\u03b2\n")
    finally:
        os.umask(before)
    file = tmp_path / "sub" / "a.txt"
    assert file.read_bytes() == "\u03b2\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert names(file.parent) == ["a.txt"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError()]
)
def test_what_breaks_off_leaves_the_old_file(tmp_path, error):
    atomic_write_text(tmp_path / "a", "old")

    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "target").write_text("old")
    (tmp_path / "link").symlink_to("far/target")
    (tmp_path / "dangling").symlink_to("far/new")
    (tmp_path / "chain").symlink_to("link")
    for name, target in (("link", "target"), ("dangling", "new"), ("chain", "target")):
        check_output(tmp_path / name, overwrite=True)
        atomic_write_text(tmp_path / name, name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "far" / target).read_text() == name
        assert not (tmp_path / "far" / target).is_symlink()
    assert names(tmp_path / "far") == ["new", "target"]
    with pytest.raises(ValueError, match="exists; add --overwrite"):
        check_output(tmp_path / "link", overwrite=False)


def test_a_device_and_a_pipe_are_written_to(tmp_path):
    check_output(os.devnull, overwrite=False)
    atomic_write_text(os.devnull, "gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    check_output(pipe, overwrite=False)
    atomic_write_text(pipe, "through")
    reader.join()
    assert got == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_no_space_is_an_oserror_that_names_the_file():
    for write in (
        lambda: atomic_write_text("/dev/full", "x"),
        lambda: atomic_torch_save("/dev/full", {"a": torch.zeros(9)}),
    ):
        with pytest.raises(OSError, match="no space left to write /dev/full") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC


def test_places_that_cannot_be_written_are_found_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a folder; give the path of a file, such as"):
        check_output(tmp_path, overwrite=True)
    for path in (tmp_path / "file" / "out.csv", tmp_path / "file" / "sub" / "out.csv"):
        for call in (
            lambda p: check_output(p, overwrite=False),
            lambda p: atomic_write_text(p, ""),
        ):
            with pytest.raises(OSError, match=r"out\.csv cannot be written: .* is not a folder"):
                call(path)
    check_output(tmp_path / "new" / "sub" / "out.csv", overwrite=False)
    assert names(tmp_path / "new" / "sub") == []


def test_a_folder_without_the_right_to_write(tmp_path, monkeypatch):
    """The rights of root know no limit, so the system's answer is played."""

    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(
        OSError, match=r"a cannot be written \(Permission denied\); write to a place"
    ):
        check_output(tmp_path / "a", overwrite=False)
