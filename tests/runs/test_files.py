"""Result files: what goes in comes out, equal runs hash alike, and every other file is refused in one line."""

import io
import json
import os
import pickle
import random
import signal
import stat
import struct
import zipfile
import zlib

import numpy as np
import pytest

import dynsim
from dynsim.reduced import EmpiricalField, OrbitField, descend
from dynsim.runs import files

ENDINGS = ("npz", "nc")


@pytest.fixture(scope="module")
def traj(part, data):
    return descend(EmpiricalField(part, data), steps=4)


@pytest.fixture(scope="module")
def orbit():
    return descend(OrbitField(dynsim.Problem(K=2, P=1e12), "LG"), steps=5)


@pytest.fixture(autouse=True)
def needs_netcdf(request):
    if "nc" in request.node.name.split("[")[-1].rstrip("]").split("-"):
        pytest.importorskip("h5py")
        pytest.importorskip("xarray")


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def assert_same(a, b):
    for name in files.ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), name
    assert a.meta == b.meta


# ------------------------------------------------------------------------------------------------ in and out


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_goes_in_comes_out(tmp_path, traj, orbit, ending):
    for i, each in enumerate((traj, orbit)):
        path = tmp_path / f"{i}.{ending}"
        files.save(path, each, {"seed": 3}, {"field.flags": np.array([[True], [False]])}, {"command": ["dynsim", "é\n"]})
        assert_same(files.load(str(path)), each)
        _, header, arrays = files.read(path)
        assert header["seed"] == 3 and header["schema"] == 1 and header["about"]["command"] == ["dynsim", "é\n"]
        assert header["about"]["dynsim"] == dynsim.__version__ and header["about"]["numpy"] == np.__version__
        assert {name for name in arrays if not name.startswith("field.") or name == "field.flags"} == {"field.flags"}
        assert arrays["field.flags"].tolist() == [[True], [False]]
    assert sorted(os.listdir(tmp_path)) == [f"0.{ending}", f"1.{ending}"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_odd_numbers_and_no_saved_times_survive(tmp_path, ending):
    values = np.array([np.nan, -0.0, np.inf, 5e-324, -1.7976931348623157e308])
    table = np.broadcast_to(values[:, None, None], (5, 2, 2))
    odd = dynsim.Trajectory(values, np.arange(5), values, table, table, table, {"é": [None, 0.1]})
    none = dynsim.Trajectory(np.empty(0), np.empty(0, int), np.empty(0), *(np.empty((0, 2, 2)),) * 3)
    for each in (odd, none):
        files.save(tmp_path / f"a.{ending}", each)
        assert_same(files.load(tmp_path / f"a.{ending}"), each)


def test_netcdf_is_labelled(tmp_path, traj, orbit, part):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5py")
    expected = {
        "samples": (traj, {"time": len(traj), "query": part.P, "feature": part.F, "key": part.P}),
        "orbit": (orbit, {"time": len(orbit), "cluster": 2, "role": 3, "class": len(orbit.layout.number) + 1}),
    }
    for name, (each, sizes) in expected.items():
        files.save(tmp_path / f"{name}.nc", each)
        with xarray.open_dataset(tmp_path / f"{name}.nc", engine="h5netcdf") as dataset:
            assert {dim: dataset.sizes[dim] for dim in sizes} == sizes
            np.testing.assert_array_equal(dataset["fp"].sel(time=each.t[-1]), each.fp[-1])
            assert json.loads(dataset.attrs["meta"]) == each.meta
    with xarray.open_dataset(tmp_path / "orbit.nc", engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["attention"].sel(role="global"), orbit.attention[:, :, 1])


def test_the_hash_is_of_the_content(tmp_path, traj):
    hashes = [
        files.save(tmp_path / "a.npz", traj, about={"seconds": 1}),
        files.save(tmp_path / "b.npz", traj, about={"seconds": 2}),
        files.save(tmp_path / "c.npz", traj, {"seed": 1}),
        files.save(tmp_path / "d.npz", dynsim.Trajectory(*(getattr(traj, n) for n in files.ARRAYS), {**traj.meta, "eta": 2})),
        files.save(tmp_path / "e.npz", traj, arrays={"x": np.zeros(2)}),
        files.save(tmp_path / "f.npz", traj, arrays={"x": np.zeros((2, 1))}),
        files.save(tmp_path / "g.npz", traj, arrays={"x": np.zeros(2, np.float32)}),
    ]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 6
    assert files.read(tmp_path / "a.npz")[1]["hash"] == hashes[0]


@pytest.mark.parametrize("path", ["a", "a.npy", "a.NPZ", ".npz/", "", None, 3, "a.nc.gz"], ids=str)
def test_other_endings_are_refused(traj, path):
    for call in (lambda: files.save(path, traj), lambda: files.load(path)):
        with pytest.raises(dynsim.InputError, match=r"end in \.npz or \.nc, got .*: rename it"):
            call()


def test_what_is_no_plain_data_is_refused(tmp_path, traj):
    words, objects = {"x": np.array(["a"])}, {"x": np.array([{}])}
    for header, arrays in (({"a": object()}, None), ({"a": {1, 2}}, None), (None, words), (None, objects)):
        with pytest.raises(dynsim.InputError, match="what goes into a file must be"):
            files.save(tmp_path / "a.npz", traj, header, arrays)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------ writing is atomic


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"])
def test_a_failed_write_leaves_what_was(tmp_path, traj, monkeypatch, ending, error):
    path = tmp_path / f"a.{ending}"
    files.save(path, traj)
    before = path.read_bytes()

    def fails(handle):
        raise error

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(dynsim.FileError if isinstance(error, OSError) else KeyboardInterrupt):
        files.save(path, traj, {"seed": 9})
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_where_it_cannot_be_written(tmp_path, traj):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "no" / "a.npz", tmp_path / "file" / "a.npz", "\0.npz"):
        with pytest.raises(dynsim.FileError, match="cannot write .*: free space or choose another place"):
            files.save(path, traj)


@pytest.mark.skipif(os.name != "posix", reason="links and permissions")
def test_links_and_permissions_are_those_of_the_user(tmp_path, traj):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real" / "a.npz", tmp_path / "link.npz")
    mask = os.umask(0o027)
    try:
        files.save(tmp_path / "link.npz", traj)
    finally:
        os.umask(mask)
    assert os.path.islink(tmp_path / "link.npz") and stat.S_IMODE((tmp_path / "real" / "a.npz").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_waits_for_the_file(tmp_path, traj, monkeypatch):
    opened = zipfile.ZipFile.open

    def interrupted(self, name, mode="r", *more, **options):
        handle = opened(self, name, mode, *more, **options)
        if mode == "w":
            os.kill(os.getpid(), signal.SIGINT)  # between opening and `with`: the archive could not even be closed
        return handle

    monkeypatch.setattr(zipfile.ZipFile, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.save(tmp_path / "a.npz", traj)
    assert os.listdir(tmp_path) == ["a.npz"]
    assert_same(files.load(tmp_path / "a.npz"), traj)


# ------------------------------------------------------------------------------------------------ files that are refused


def refused(path, rule):
    with pytest.raises(dynsim.FileError, match=rule) as caught:
        files.load(path)
    assert "\n" not in str(caught.value) and str(path.name) in str(caught.value) and len(str(caught.value)) < 400


class Trap:
    """Runs on unpickling."""

    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


def member(**changes):
    """An .npy member of two floats, or one that declares otherwise."""
    described = {"descr": "<f8", "fortran_order": False, "shape": (2,), **changes}
    text = repr(described).encode().ljust(117) + b"\n"
    return np.lib.format.magic(1, 0) + struct.pack("<H", len(text)) + text + np.zeros(2).tobytes()


def archive(path, members, packing=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packing) as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_a_pickle_is_refused_and_not_run(tmp_path, traj, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    whole = {name: getattr(traj, name) for name in files.ARRAYS}
    for name in ("header", "fp", "other"):
        np.savez(tmp_path / "a.npz", **{**whole, name: np.array([Trap()], dtype=object)})
        refused(tmp_path / "a.npz", "holds objects .*: do not trust it")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap()))
    refused(tmp_path / "b.npz", "is no result file")
    archive(tmp_path / "c.npz", {"header.npy": pickle.dumps(Trap())})
    refused(tmp_path / "c.npz", "is no result file")
    assert not (tmp_path / "sprung").exists()
    with np.load(tmp_path / "a.npz", allow_pickle=True) as file:  # control: the trap springs where it is let
        file["other"]
    assert (tmp_path / "sprung").exists()


BOMBS = {
    "shape": member(shape=(10**15,)),
    "shapes": member(shape=(2**40, 2**40)),
    "overflow": member(shape=(2**63, 2)),
    "negative": member(shape=(-1, -2)),
    "dtype": member(descr="V999999999"),
    "strings": member(descr="<U4"),
    "fields": member(descr=[("a", "<f8")]),
    "nested": member(descr="(((" * 30),
    "long header": np.lib.format.magic(2, 0) + struct.pack("<I", 2**31) + b" " * 90,
    "version": b"\x93NUMPY\x09\x00" + b" " * 90,
    "expression": member(shape="__import__('os')"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_declared_sizes_are_not_believed(tmp_path, bomb):
    archive(tmp_path / "a.npz", {"header.npy": BOMBS[bomb]})
    refused(tmp_path / "a.npz", "write it again|do not trust")


def test_packed_members_are_not_unpacked(tmp_path):
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(10**7, np.uint8))
    archive(tmp_path / "a.npz", {"header.npy": zeros.getvalue()}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "a.npz").stat().st_size < 10**5
    refused(tmp_path / "a.npz", "its members are packed")


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """One member listed a thousand times: together larger than the file."""
    path = tmp_path / "a.npz"
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(10**5, np.uint8))
    archive(path, {"header.npy": zeros.getvalue()})
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    entry, end = content[at : content.index(b"PK\x05\x06")], content[content.index(b"PK\x05\x06") :]
    end = end[:8] + struct.pack("<HHI", 1000, 1000, 1000 * len(entry)) + end[16:]
    path.write_bytes(content[:at] + entry * 1000 + end)
    assert len(zipfile.ZipFile(path).infolist()) == 1000
    refused(path, "its members are packed")


@pytest.mark.parametrize("ending", ENDINGS)
def test_foreign_files_are_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    empty_zip, hdf5, netcdf3 = b"PK\x05\x06" + bytes(18), b"\x89HDF\r\n\x1a\n" + bytes(500), b"CDF\x01" + bytes(50)
    for content in (b"", b"\0" * 99, empty_zip, hdf5, netcdf3, b"%PDF", b"t,loss\n0,1\n"):
        path.write_bytes(content)
        refused(path, "no result file|not written by dynsim|damaged")
    (tmp_path / f"folder.{ending}").mkdir()
    refused(tmp_path / f"folder.{ending}", "the folder")
    refused(tmp_path / f"none.{ending}", "does not: check the name")
    refused(tmp_path / f"none\0.{ending}".replace("\0", "�"), "check the name")


def test_archives_of_others_are_refused(tmp_path, traj):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    refused(tmp_path / "a.npz", "it has no header")
    texts = [b"[]", b"{}", b'{"schema": "1"}', b"{", b"\xff", b"[" * 10**5, b'{"schema":' + b"9" * 9999 + b"}"]
    for text in (*texts, b'{"schema": 1, "about": 3}', b'{"schema": 1}', b'{"schema": 9, "about": 3}'):
        np.savez(tmp_path / "a.npz", header=np.frombuffer(text, np.uint8))
        refused(tmp_path / "a.npz", "names no schema|no result file|is damaged|schema")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_newer_schema_is_named(tmp_path, traj, monkeypatch, ending):
    path = tmp_path / f"a.{ending}"
    monkeypatch.setattr(files, "SCHEMA", 2)
    files.save(path, traj)
    monkeypatch.setattr(files, "SCHEMA", 1)
    refused(path, rf"has schema 2, of dynsim {dynsim.__version__}; this dynsim reads up to 1: upgrade it")


def test_a_hash_that_does_not_fit_is_refused(tmp_path, traj):
    """The archive is in order, its content is not what was hashed."""
    files.save(tmp_path / "a.npz", traj)
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    for name in files.ARRAYS:
        np.savez(tmp_path / "b.npz", **{**arrays, name: arrays[name] + (arrays[name] == arrays[name].max())})
        refused(tmp_path / "b.npz", "does not have the hash in its header")
    header = arrays["header"].tobytes().replace(b'"eta": 1.0', b'"eta": 2.0')
    assert header != arrays["header"].tobytes()
    np.savez(tmp_path / "b.npz", **{**arrays, "header": np.frombuffer(header, np.uint8)})
    refused(tmp_path / "b.npz", "does not have the hash in its header")
    np.savez(tmp_path / "b.npz", **arrays)  # control
    assert_same(files.load(tmp_path / "b.npz"), traj)


def test_arrays_that_do_not_belong_together_are_refused(tmp_path, traj):
    arrays = {name: getattr(traj, name) for name in files.ARRAYS}
    header = {"schema": 1, "meta": {}}
    for changes in ({"loss": traj.loss[1:]}, {"fp": np.float64(1)}):
        content = {**arrays, **changes}
        text = json.dumps({**header, "hash": files.digest(content, header)}).encode()
        np.savez(tmp_path / "a.npz", header=np.frombuffer(text, np.uint8), **content)
        with pytest.raises(dynsim.DynsimError):
            files.load(tmp_path / "a.npz")


# ------------------------------------------------------------------------------------------------ 200 damaged files


def damaged(content, draw, other):
    """A copy with flipped bytes, cut short, with a stretch zeroed, doubled or swapped for another file's, or foreign bytes."""
    content, size = bytearray(content), len(content)
    how = draw.choice(("bit", "bytes", "cut", "zeros", "insert", "swap", "foreign", "tail", "names"))
    at = draw.randrange(size)
    length = draw.randrange(1, 200)
    if how == "bit":
        content[at] ^= 1 << draw.randrange(8)
    elif how == "bytes":
        for _ in range(draw.randrange(1, 20)):
            content[draw.randrange(size)] = draw.randrange(256)
    elif how == "cut":
        del content[at:]
    elif how == "zeros":
        content[at : at + length] = bytes(len(content[at : at + length]))
    elif how == "insert":
        content[at:at] = content[at : at + length]
    elif how == "swap":
        content[at:] = other[at:]
    elif how == "foreign":
        content = bytearray(draw.randbytes(length * 10))
    elif how == "tail":
        for _ in range(3):
            content[-draw.randrange(1, min(size, 600))] ^= 1 << draw.randrange(8)
    else:  # where the archive keeps sizes, names and offsets
        where = [i for i in range(size - 4) if content[i : i + 2] == b"PK"] or [0]
        content[min(size - 1, draw.choice(where) + draw.randrange(46))] ^= 1 << draw.randrange(8)
    return bytes(content)


@pytest.mark.parametrize("ending", ENDINGS)
def test_200_damaged_files_are_refused_or_read_right(tmp_path, orbit, ending):
    path, draw = tmp_path / f"a.{ending}", random.Random(zlib.crc32(ending.encode()))
    files.save(path, orbit, about={"command": "other"})
    other = path.read_bytes()
    files.save(path, orbit)
    whole, right = path.read_bytes(), 0
    for _ in range(200):
        path.write_bytes(damaged(whole, draw, other))
        try:
            assert_same(files.load(path), orbit)
            right += 1
        except dynsim.FileError as error:
            assert "\n" not in str(error)
    assert right < 60  # what is not content may change: dates in the archive, say
    path.write_bytes(whole)
    assert_same(files.load(path), orbit)
