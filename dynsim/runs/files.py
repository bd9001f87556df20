"""Result files: a Trajectory, what was run, and what it takes to run it again or to resume it. ``.npz``, or ``.nc`` (netCDF).

A file is named arrays and a header, which is plain JSON:

======  ===========================================================================================================
schema  version of this layout
meta    Trajectory.meta
field   what makes the field of the run again (runs/recipe.py), with its arrays; null where that is code of yours
dims    names of the axes of fp, pp and attention
...     whatever else the writer adds (checkpoints: seed, state)
hash    SHA-256 over all arrays (name, type, shape, bytes) and all of the header but ``hash`` and ``about``
about   versions, command line, time of writing and seconds taken: not hashed, so equal runs have equal hashes
======  ===========================================================================================================

Nothing in a file is pickled or run. Reading trusts no size that a file declares, checks every hash, and has one line for
each file that it refuses. Writing goes to another name in the same folder first: a file is there whole or not at all.
"""

import hashlib
import io
import json
import os
import platform
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from math import prod
from time import strftime
from types import ModuleType
from typing import Any

import numpy as np

from dynsim import __version__
from dynsim.errors import DynsimError, FileError, InputError
from dynsim.processes import interrupts_held
from dynsim.reduced.field import prefixed, without_prefix
from dynsim.runs import recipe
from dynsim.trajectory import Trajectory, words_of
from dynsim.writing import Path, replace

Arrays = dict[str, np.ndarray]  # by name

SCHEMA = 1
Writer = Callable[[Path, Arrays, dict, Mapping[str, Sequence[str]]], None]  # path, arrays, header, labels along axes
ARRAYS = ("t", "step", "loss", "fp", "pp", "attention")
UNHASHED = ("hash", "about")
SEAL = b"\ndynsim\n"  # a netCDF file ends in this and the SHA-256 of all before: its library is not proof against damage


def save(
    path: Path, traj: Trajectory, header: dict | None = None, arrays: Arrays | None = None, about: dict | None = None
) -> str:
    """Write a trajectory to a file.

    Parameters
    ----------
    path : str or path
        The file; it ends in .npz or .nc.
    traj : Trajectory
        A run.
    header : dict, optional
        Plain data to go with it.
    arrays : dict of str to ndarray, optional
        Further arrays by name.
    about : dict, optional
        Plain data that is not hashed, beside the versions.

    Returns
    -------
    str
        The content hash, the same for equal runs.

    Raises
    ------
    InputError
        If the name ends in something else, or something is not plain data.
    FileError
        If the file cannot be written.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> run = dynsim.reduced.flow(field, t_end=100.0, keep=5)
    >>> dynsim.runs.save("a.npz", run) == dynsim.runs.save("b.npz", run)
    True
    """
    writer = _format(path)[1]
    field, field_arrays = recipe.of(traj)
    terms = prefixed(traj.terms, "terms")
    arrays = {**{name: getattr(traj, name) for name in ARRAYS}, **terms, **prefixed(field_arrays, "field"), **(arrays or {})}
    dims = {} if traj.layout is None else dict(traj.layout.dims)
    header = plain({**(header or {}), "schema": SCHEMA, "meta": traj.meta, "field": field, "dims": dims})
    about = plain({**versions(), "written": strftime("%Y-%m-%dT%H:%M:%S%z"), **(about or {})})
    bad = [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]
    if bad:
        raise InputError(f"what goes into a file must be numbers, got {arrays[bad[0]].dtype} in {bad[0]}: convert it")
    header.update(hash=digest(arrays, header), about=about)
    coords = {} if traj.layout is None else traj.layout.coords
    with interrupts_held():  # zipfile answers an interrupt in the middle with an error of its own
        replace(path, lambda temporary: writer(temporary, arrays, header, coords))
    return header["hash"]


def load(path: Path) -> Trajectory:
    """Read the trajectory in a file.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Trajectory
        The run.

    Raises
    ------
    InputError
        If the name does not end in .npz or .nc.
    FileError
        If the file cannot be read, or is damaged.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> run = dynsim.reduced.flow(field, t_end=100.0, keep=5)
    >>> digest = dynsim.runs.save("run.npz", run)
    >>> len(dynsim.runs.load("run.npz")) == len(run)
    True
    """
    return read(path)[0]


def read(path: Path) -> tuple[Trajectory, dict, Arrays]:
    """Read all that is in a file; every hash is checked.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    traj : Trajectory
        The run.
    header : dict
        Plain data.
    arrays : dict of str to ndarray
        Further arrays by name.

    Raises
    ------
    InputError
        If the name does not end in .npz or .nc.
    FileError
        If the file cannot be read, or is damaged.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> digest = dynsim.runs.save("run.npz", dynsim.reduced.flow(field, t_end=100.0, keep=5), {"note": "mine"})
    >>> traj, header, arrays = dynsim.runs.read("run.npz")
    >>> header["note"], header["hash"] == digest
    ('mine', True)
    """
    reader = _format(path)[0]
    try:
        arrays, header = reader(path)
        columns = {name: arrays.pop(name) for name in ARRAYS}
        terms = {name: arrays.pop(f"terms.{name}") for name in without_prefix(arrays, "terms")}
        field = header.get("field")
        made = None if field is None else (field, without_prefix(arrays, "field"))
        layout = None if made is None else recipe.layout(*made)
        traj = Trajectory(**columns, meta=header["meta"], terms=terms, layout=layout, recipe=made)
    except FileNotFoundError:
        raise FileError(f"a result file must exist, got {str(path)!r}, which does not: check the name") from None
    except IsADirectoryError:
        raise FileError(f"a result file was expected, got the folder {str(path)!r}: name a file in it") from None
    except PermissionError as error:
        raise FileError(f"the file {str(path)!r} may not be read ({error.strerror}): change its permissions") from None
    except _Unreadable as error:
        raise FileError(f"{str(path)!r} {error}") from None
    except DynsimError:
        raise
    except Exception as error:  # a foreign or broken file can make its reader fail in any way
        what = f"{type(error).__name__}: {error}"[:120]
        raise FileError(f"{str(path)!r} is no result file of dynsim, or is damaged ({what}): write it again") from None
    return traj, header, arrays


def digest(arrays: Mapping[str, np.ndarray], header: dict) -> str:
    """Return a hash over arrays and a header.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays by name.
    header : dict
        Plain data; the keys in UNHASHED are left out.

    Returns
    -------
    str
        SHA-256, in hexadecimal.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.runs import files
    >>> files.digest({"a": np.ones(2)}, {"about": 1}) == files.digest({"a": np.ones(2)}, {})
    True
    """
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        content.update(f"{name} {array.dtype.newbyteorder('<').str} {array.shape}\n".encode())
        content.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    hashed = {key: value for key, value in header.items() if key not in UNHASHED}
    content.update(json.dumps(hashed, sort_keys=True).encode())
    return content.hexdigest()


def plain(value: Any) -> Any:
    """Return a value as it comes back from a file.

    Parameters
    ----------
    value : object
        Numbers, text, lists, dicts, arrays.

    Returns
    -------
    object
        With lists for tuples and arrays.

    Raises
    ------
    InputError
        If it is not plain data.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.runs import files
    >>> files.plain({"shape": (2, 3), "values": np.arange(2)})
    {'shape': [2, 3], 'values': [0, 1]}
    """
    try:
        return json.loads(json.dumps(value, default=lambda array: array.tolist()))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"what goes into a file must be plain data, got something else ({error}): leave it out") from None


@cache
def versions() -> dict[str, str]:
    """Return the versions of all that the bits of a result can depend on.

    Returns
    -------
    dict
        Name -> version, of dynsim, Python, the machine, NumPy, SciPy and numba.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.runs import files
    >>> files.versions()["dynsim"] == dynsim.__version__
    True
    """
    found = {"dynsim": __version__, "python": platform.python_version(), "machine": platform.machine()}
    return {**found, **{name: metadata.version(name) for name in ("numpy", "scipy", "numba")}}


class _Unreadable(Exception):
    """Why a file is refused: the rest of a line that starts with its name."""


def _format(path: Path) -> tuple[Callable[[Path], tuple[Arrays, dict]], Writer]:
    """(reader, writer) by the ending of the name."""
    try:
        ending = os.path.splitext(os.fspath(path))[1]
    except TypeError:
        ending = None
    if ending not in (".npz", ".nc"):
        raise InputError(f"result files end in .npz or .nc, got {str(path)!r}: rename it")
    return (_read_npz, _write_npz) if ending == ".npz" else (_read_nc, _write_nc)


def _checked(arrays: Arrays) -> tuple[Arrays, dict]:
    """(arrays, header) once the header is split off, understood, and agrees with the arrays."""
    if "header" not in arrays:
        raise _Unreadable("was not written by dynsim (it has no header): give a file that was")
    header = json.loads(arrays.pop("header").tobytes())
    if not isinstance(header, dict) or not isinstance(header.get("schema"), int):
        raise _Unreadable("was not written by dynsim (its header names no schema): give a file that was")
    if header["schema"] > SCHEMA:
        by = header.get("about", {}).get("dynsim", "?")
        raise _Unreadable(f"has schema {header['schema']}, of dynsim {by}; this dynsim reads up to {SCHEMA}: upgrade it")
    if header.get("hash") != digest(arrays, header):
        raise _Unreadable("is damaged: its content does not have the hash in its header: write it again")
    return arrays, header


def _write_npz(path: Path, arrays: Arrays, header: dict, coords: Mapping[str, Sequence[str]]) -> None:
    members: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _read_npz(path: Path) -> tuple[Arrays, dict]:
    """Member by member: stored as written, no larger together than the file, of plain numbers, as long as declared."""
    arrays = {}
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        packed = any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members)
        if packed or sum(info.file_size for info in members) > os.path.getsize(path):
            raise _Unreadable("was not written by dynsim (its members are packed): give a file that was")
        for info in members:
            content = io.BytesIO(archive.read(info))
            version = np.lib.format.read_magic(content)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(content)
            if dtype.hasobject:
                raise _Unreadable("holds objects (a pickle), which dynsim neither writes nor loads: do not trust it")
            if dtype.kind not in "biuf" or prod(shape) * dtype.itemsize != info.file_size - content.tell():
                raise _Unreadable(f"is damaged: {info.filename} is not the array it declares: write it again")
            content.seek(0)
            arrays[info.filename.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
    return _checked(arrays)


def _dimensions(arrays: Arrays, header: dict) -> dict[str, tuple[str, ...]]:
    """Names of the dimensions of every array; every length has one name."""
    names: dict[str, tuple[str, ...]] = {name: ("time", *axes) for name, axes in header["dims"].items()}
    names |= {name: ("time",) for name in arrays if name in ("t", "step", "loss") or name.startswith("terms.")}
    own = {name: tuple(f"{name}_{i}" for i in range(np.ndim(array))) for name, array in arrays.items()}
    return {name: names[name] if len(names.get(name, ())) == np.ndim(arrays[name]) else own[name] for name in arrays}


def _xarray() -> ModuleType:
    try:
        import h5netcdf  # noqa: F401 (what xarray writes with)
        import h5py  # noqa: F401 (what that writes with)
        import xarray
    except ImportError:
        raise InputError(".nc files need the `data` extra: pip install 'dynsim[data]', or take the ending .npz") from None
    return xarray


def _write_nc(path: Path, arrays: Arrays, header: dict, coords: Mapping[str, Sequence[str]]) -> None:
    names = _dimensions(arrays, header)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    words = {name: dict(zip(("long_name", "units"), pair, strict=True)) for name, pair in words_of(header["meta"]).items()}
    variables: dict = {name: (names[name], array, words.get(name, {})) for name, array in arrays.items()}
    variables["header"] = ("header_0", text)
    used = {axis for axes in names.values() for axis in axes}
    labels = {"time": np.asarray(arrays["t"]), **{axis: list(text) for axis, text in coords.items() if axis in used}}
    attrs = {"title": f"dynsim {header['meta'].get('method', '')} run", "time": "t = eta x step", "loss": words["loss"]["units"]}
    attrs["meta"] = json.dumps(header["meta"])[:50000]  # for people; HDF5 takes attributes up to 64 KiB
    _xarray().Dataset(variables, labels, attrs).to_netcdf(path, engine="h5netcdf")
    with open(path, "rb+") as file:
        file.write(SEAL + hashlib.sha256(file.read()).digest())


def _read_nc(path: Path) -> tuple[Arrays, dict]:
    xarray, size = _xarray(), len(SEAL) + 32
    with open(path, "rb") as file:
        content = file.read()
    if content[-size:-32] != SEAL or hashlib.sha256(content[:-size]).digest() != content[-32:]:
        raise _Unreadable("is damaged, or was not written by dynsim: write it again")
    with xarray.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
        if sum(variable.nbytes for variable in dataset.variables.values()) > 2 * len(content):
            raise _Unreadable("declares more than it holds: write it again")
        return _checked({name: variable.values for name, variable in dataset.data_vars.items()})
