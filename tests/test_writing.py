"""Files are written whole or not at all."""

import os

import pytest

import dynsim
from dynsim.writing import remove_leftovers, replace


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(name, error=None):
        assert os.path.dirname(name) == os.fspath(tmp_path) and name.endswith(".txt") and name != os.fspath(path)
        with open(name, "w") as file:
            file.write("new")
        assert path.read_text() == "old"
        if error is not None:
            raise error

    for error in (KeyboardInterrupt(), RuntimeError("a defect")):
        with pytest.raises(type(error)):
            replace(path, lambda name, error=error: write(name, error))
        assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "old"
    with pytest.raises(dynsim.FileError, match=r"cannot write '.*a.txt' \(disk full\): give another file$"):
        replace(path, lambda name: write(name, OSError(28, "disk full")), "give another file")
    assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "old"
    replace(path, write)
    assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "new"


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    kept = [".b.npz.123-4.part.npz", "a.npz.part", ".a.npz"]
    for name in (".a.npz.123-4.part.npz", ".a.npz.123.part", *kept):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "a.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
