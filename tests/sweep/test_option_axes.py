"""Options of a method as axes of a sweep: keys, columns, slices and files, and that rows of old stores stay what they are."""

import csv
import json
from itertools import product

import numpy as np
import pytest
from test_sweep import TRIVIAL, Here, rows

import dynsim
from dynsim import plots, sweep
from dynsim.cli import main
from dynsim.reduced import FIELDS, Option, field_class
from dynsim.sweep import driver
from dynsim.sweep.methods import read_option
from dynsim.sweep.points import Points

OPTIONS = "sweep_methods:optional"


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(driver, "Processes", Here)


def points(axes=None, options=None, listed=None, method=OPTIONS):
    return Points(axes, listed, [0], method, options, "0.1.0", reader=lambda name, value: read_option(method, name, value))


def test_a_point_is_the_same_whether_its_option_has_an_axis_or_not():
    """The key written down is that of a store made before options could have an axis."""
    (fixed,) = Points({"K": 1}, None, [0], "orbit", {"nodes": 8}, "0.1.0")
    assert Points({"K": 1}, None, [0], "orbit", {"nodes": 8}, "0.1.0").key(fixed) == "2fc44f15cff54fe24a26508e9941d873"
    several = points({"K": 1, "nodes": ["8", 9.0, 8]}, method="orbit")
    tasks = [several.task(point) for point in several]
    assert [task[2] for task in tasks] == [{"nodes": 8}, {"nodes": 9}] and len({task[0] for task in tasks}) == 2
    assert tasks[0][0] == Points({"K": 1}, None, [0], "orbit", {"nodes": 8}, "0.1.0").key(fixed)
    listed = points(listed=[{"K": 1, "nodes": "8"}, {"K": 1}], method="orbit")
    assert [listed.key(point) for point in listed] == [
        tasks[0][0], Points({"K": 1}, None, [0], "orbit", None, "0.1.0").key(fixed)  # left out: the point without that option
    ]


def test_numbers_texts_and_booleans_are_axes_resumed_and_loaded(tmp_path):
    path, axes = tmp_path / "a.db", {"a": [0.5, 2], "b": ["x", "y"], "c": [False, True]}
    done = sweep.run(path, {"kappa_c": (0.6, 0.9), **axes}, method=OPTIONS)
    assert done["computed"] == 16 and done["failed"] == 0
    again = sweep.run(path, {"kappa_c": (0.6, 0.9), **axes, "a": [0.5, 2, 3]}, method=OPTIONS)
    assert (again["known"], again["computed"]) == (16, 8)
    fixed = sweep.run(path, {"kappa_c": 0.6}, method=OPTIONS, options={"a": 0.5, "b": "y", "c": True})
    assert fixed["known"] == 1 and fixed["computed"] == 0
    table = sweep.load(path)
    assert {name: values.tolist() for name, values in sweep.axes(table).items()} == {
        "kappa_c": [0.6, 0.9], "a": [0.5, 2.0, 3.0], "b": ["x", "y"], "c": [False, True]
    }
    assert table["c"].dtype == bool and table["a"].dtype == float
    twin = [kappa_c + 10 * a + (100 if b == "y" else 0) + 1000 * c for kappa_c, a, b, c in zip(
        table["kappa_c"], table["a"], table["b"], table["c"], strict=True
    )]
    assert np.array_equal(table["x"], twin) and len(set(twin)) == 24  # each row has the result of its own options
    chosen = {name: column[(table["b"] == "y") & table["c"]] for name, column in table.items()}
    across, up, values = sweep.plane(chosen, "x", "a", "kappa_c")
    assert values.shape == (2, 3) and values[1, 2] == 0.9 + 30 + 100 + 1000
    with pytest.raises(dynsim.InputError, match="b, c vary too"):
        sweep.plane(table, "x", "a", "kappa_c")


def test_an_option_left_out_has_its_default_in_the_table(tmp_path):
    path = tmp_path / "a.db"
    sweep.run(path, {"K": 1, "P": 1e6, "nodes": [4, 6]}, method="orbit")
    sweep.run(path, {"K": 1, "P": 1e6}, method="orbit")
    table = sweep.load(path)
    assert table["nodes"].tolist() == [4.0, 6.0, 24.0]  # in order of numbers, not of text
    assert len(set(table["escape"])) == 3  # they have been run with these


def test_files_have_the_axes(tmp_path):
    path = tmp_path / "a.db"
    sweep.run(path, {"kappa_c": (0.6, 0.9), "a": [0.5, 2], "b": ["x", "y"]}, method=OPTIONS, options={"c": True})
    sweep.export(path, tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert {(float(row["a"]), row["b"], row["c"]) for row in read} == set(product((0.5, 2.0), "xy", ["True"]))
    pytest.importorskip("h5py")
    import xarray

    sweep.export(path, tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as data:
        assert dict(data.sizes) == {"kappa_c": 2, "a": 2, "b": 2} and data.attrs["c"]
        assert float(data["x"].sel(kappa_c=0.9, a=2.0, b="y")) == 0.9 + 20 + 100 + 1000


def test_every_option_of_every_field_reads_its_default():
    for key in FIELDS:
        for option in field_class(key).options:
            if option.default is not None:
                assert option.read(option.default) == option.read(str(option.default)) == option.default
                assert type(option.read(option.default)) is option.type
            for wrong in ([], object()):
                with pytest.raises(dynsim.InputError, match=f"{option.name} must be"):
                    option.read(wrong)


@pytest.mark.parametrize(
    "grid, options, message",
    [
        ({"weight": [-1, 1]}, None, "weight must be a number of at least 0, got -1"),
        ({"weight": ["much"]}, None, "weight must be a number of at least 0, got 'much'"),
        ({"stop_gradient": ["perhaps"]}, None, "stop_gradient must be yes or no, got 'perhaps'"),
        ({"masks": ["carnival"]}, None, "masks must be two-areas, own-area, got 'carnival'"),
        ({"nodes": [4.5]}, None, "nodes must be a whole number of at least 1, got 4.5"),
        ({"weight": []}, None, "an axis needs a value, got none for weight"),
        ({"weight": [1, 2]}, {"weight": 1}, "an axis or one value for all points, got both for weight"),
        ({"n": [1, 2]}, None, "runs over the fields K, gamma, .* and options of its method, got 'n'"),
    ],
)
def test_bad_axes_are_named_before_anything_starts(tmp_path, grid, options, message):
    with pytest.raises(dynsim.InputError, match=message):
        sweep.run(tmp_path / "a.db", {"K": 2, **grid}, method="mixed-orbit", options=options)
    assert not (tmp_path / "a.db").exists()
    with pytest.raises(dynsim.InputError, match="is a number, a text or a boolean"):
        sweep.run(tmp_path / "a.db", {"a": [[1, 2]]}, method=OPTIONS)


def test_the_command_line(tmp_path, capsys):
    path = tmp_path / "a.db"
    argv = ["sweep", "--method", "orbit", "--K", "1", "--P", "1e6,1e7", "--out", str(path), "--json"]
    assert main([*argv, "--nodes", "4:8:3", "--masks", "own-area,mean-field"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["computed"] == 12 and "(2 P x 2 masks x 3 nodes)" in err
    assert {row["options"] for row in rows(path)} == {
        json.dumps({"masks": masks, "nodes": nodes}) for masks in ("own-area", "mean-field") for nodes in (4, 6, 8)
    }
    (tmp_path / "list.csv").write_text("P,nodes,masks\n1e6,4,own-area\n1e6,5,\n")
    assert main([*argv[:3], "--points", str(tmp_path / "list.csv"), *argv[7:]]) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 2  # K is another one
    for bad in (["--nodes", "4,5.5"], ["--nodes", "x"], ["--masks", "own-area,none"], ["--weight", "1,2"], ["--seeds", "2"]):
        assert main([*argv, *bad]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and bad[0] in err or "seeds" in err


def test_booleans_on_the_command_line(tmp_path, capsys):
    argv = ["sweep", "--method", "contrastive-samples", "--K", "2", "--P", "16", "--n", "8", "--steps", "2"]
    for given, values in ((["--stop-gradient", "yes,no"], [False, True]), (["--no-stop-gradient"], [False]), (["--fresh"], None)):
        path = tmp_path / f"{given[-1]}.db"
        assert main([*argv, *given, "--out", str(path), "--quiet"]) == 0
        table = sweep.load(path)
        assert table["fresh"].tolist() == [True] if values is None else table["stop_gradient"].tolist() == values
    capsys.readouterr()


def test_diagrams_over_options(tmp_path):
    path = tmp_path / "a.db"
    sweep.run(path, {"K": 1, "P": 1e6, "masks": ["own-area", "mean-field"], "kappa_s": (0.3, 0.4, 0.5)}, method="orbit")
    table = sweep.load(path)
    made, ax = plots.figure()
    mesh = plots.phase_diagram(ax, table, x="masks", y="kappa_s")
    for i, kappa_s in enumerate((0.3, 0.4, 0.5)):
        for j, masks in enumerate(("mean-field", "own-area")):
            row = (table["kappa_s"] == kappa_s) & (table["masks"] == masks)
            assert mesh.get_array().reshape(3, 2)[i, j] == pytest.approx(-table["depth"][row][0] / np.log(1e6))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["mean-field", "own-area"]
    assert main(["plot", str(path), "--out", str(tmp_path / "a.png"), "--quiet"]) == 0
    sweep.run(path, {"K": 1, "P": 1e6, "masks": "own-area", "kappa_s": 0.3, "nodes": 4}, method="orbit")
    assert main(["plot", str(path), "--out", str(tmp_path / "a.png"), "--quiet"]) == 2  # three axes


def test_a_diagram_of_collapse_is_that_of_its_runs():
    """Weights in equal ratios: a logarithmic axis, whose cells have edges half way in the logarithm."""
    weight, gap = (column.ravel() for column in np.meshgrid([0.1, 1.0, 10.0, 100.0], [0.2, 0.3]))
    events = {0.1: (5.0, np.nan), 1.0: (9.0, 2.0), 10.0: (np.nan, 2.0), 100.0: (np.nan, np.nan)}
    escape, collapse = np.array([events[w] for w in weight]).T
    table = {"P": np.full(8, 1e6), "weight": weight, "gap": gap, "escape": escape, "collapse": collapse}
    made, ax = plots.figure()
    mesh = plots.collapse_diagram(ax, table, "weight", "gap")
    assert mesh.get_array().reshape(2, 4).tolist() == [[1, 2, 3, 0]] * 2
    assert ax.get_xscale() == "log" and ax.get_yscale() == "linear"
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], 10.0 ** np.arange(-1.5, 3), rtol=1e-12)
    assert {text.get_text() for text in ax.texts} == {"diverse", "delayed", "collapsed", "neither"}


def test_an_option_is_data():
    assert Option("a", float, 1.0, "a number", least=0.0).read("2e3") == 2000.0
    assert TRIVIAL  # (the method without options)
    with pytest.raises(dynsim.InputError, match="and options of its method, got 'a'"):
        points({"a": [1, 2]}, method=TRIVIAL)
