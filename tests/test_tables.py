"""Runs as xarray data sets and sweeps as pandas tables: named axes, units, and back again through files with their metadata."""

import json
import sys

import numpy as np
import pytest
from every_field import EVERY, small

import dynsim
from dynsim import sweep
from dynsim.reduced import descend


@pytest.mark.parametrize("key", EVERY)
def test_a_run_of_every_field_goes_through_a_file(key, tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5py")
    field = small(key)
    run = descend(field, eta=0.1, steps=4, keep=2)
    data = run.to_xarray()
    for name in ("fp", "pp", "attention"):
        assert data[name].dims == ("time", *field.layout.dims[name])
        np.testing.assert_array_equal(data[name], getattr(run, name))
        assert data[name].attrs["long_name"] and data[name].attrs["units"] == "1"
    unit = "per masked patch" if field.objective == "reconstruction" else "1"
    assert data.loss.attrs["units"] == unit and data.time.attrs["units"] == "eta x step"
    assert {axis: list(data[axis].values) for axis in field.layout.coords if axis in data.coords} == {
        axis: list(text) for axis, text in field.layout.coords.items() if axis in data.dims
    }
    assert {name.removeprefix("loss_") for name in data.data_vars if name.startswith("loss_")} == set(run.terms)
    data.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as back:
        assert back.identical(data)  # names, axes, labels, numbers and attributes
        assert json.loads(back.attrs["meta"]) == json.loads(json.dumps(run.meta))
        np.testing.assert_array_equal(back.time, run.t)
        np.testing.assert_array_equal(back.step, run.step)


def test_a_run_without_a_layout_has_numbered_axes():
    pytest.importorskip("xarray")
    table = np.zeros((2, 3, 3))
    data = dynsim.Trajectory(np.arange(2.0), np.arange(2), np.ones(2), table, table, table).to_xarray()
    assert data.fp.dims == ("time", "fp_1", "fp_2") and data.pp.dims == ("time", "pp_1", "pp_2")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "sweep.db"
    grid = {"K": 1, "P": [1e6, 1e9], "kappa_s": [0.3, 0.4], "gamma": 0.75}
    sweep.run(path, grid, method="orbit", workers=1)
    return path


def test_a_sweep_is_a_table_on_its_axes(store):
    pandas = pytest.importorskip("pandas")
    rows = sweep.load(store)
    table = rows.to_pandas()
    assert table.index.names == list(sweep.axes(rows)) == ["P", "kappa_s"] and len(table) == 4
    assert table.loc[(1e9, 0.4), "escape"] == rows["escape"][(rows["P"] == 1e9) & (rows["kappa_s"] == 0.4)].item()
    assert table.attrs["fixed"]["gamma"] == 0.75 and table.attrs["method"] == "orbit"
    assert table.attrs["version"] == dynsim.__version__ and table.attrs["units"]["escape"] == "eta x step"
    again = table.reset_index()
    assert set(again.columns) == set(rows)
    for name, values in rows.items():
        np.testing.assert_array_equal(again[name].to_numpy(), values)
    unlike = rows["escape"] != rows["escape"][0]
    one = sweep.load(store).__class__({name: values[~unlike] for name, values in rows.items()}).to_pandas()
    assert isinstance(one.index, pandas.RangeIndex) and len(one) == 1  # control: nothing varies, nothing is an axis


def test_a_table_goes_through_csv_and_onto_a_grid(store, tmp_path):
    pandas = pytest.importorskip("pandas")
    table = sweep.load(store).to_pandas()
    table.to_csv(tmp_path / "a.csv")
    back = pandas.read_csv(tmp_path / "a.csv", index_col=table.index.names)
    np.testing.assert_allclose(back["escape"], table["escape"], rtol=1e-15)  # older pandas read the last bit another way
    assert back.index.equals(table.index)
    pytest.importorskip("xarray")
    np.testing.assert_array_equal(table["escape"].to_xarray(), sweep.plane(sweep.load(store), "escape", "kappa_s", "P")[2])


def test_no_rows_are_an_empty_table(store):
    pytest.importorskip("pandas")
    table = sweep.load(store, method="minibatch").to_pandas()
    assert len(table) == 0 and "escape" in table.columns and table.attrs["fixed"] == {}


def test_without_the_extra_one_line_says_so(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(dynsim.InputError, match=r"pip install 'dynsim\[data\]'"):
        sweep.load(store).to_pandas()
    with pytest.raises(dynsim.InputError, match=r"pip install 'dynsim\[data\]'"):
        dynsim.Trajectory(*(np.zeros((1, 1, 1)),) * 6).to_xarray()


def test_options_that_vary_are_axes_too(tmp_path):
    pytest.importorskip("pandas")
    grid = {"K": 1, "P": [1e6, 1e9], "masks": ["own-area", "mean-field"]}
    sweep.run(tmp_path / "a.db", grid, method="orbit", workers=1)
    table = sweep.load(tmp_path / "a.db").to_pandas()
    assert table.index.names == ["P", "masks"] and table.index.is_unique
    assert "options" not in table.attrs and table.attrs["method"] == "orbit"
