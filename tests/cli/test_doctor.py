"""`dynsim doctor`: one screen, one JSON object, and an exit status that tells."""

import json

import pytest

import dynsim
from dynsim.cli import doctor, main
from dynsim.reduced.kernels import reconstruction
from dynsim.validation import bits


def run(capsys, *argv):
    """Status and standard output of `dynsim doctor`."""
    status = main(["doctor", *argv])
    return status, capsys.readouterr().out


def test_one_screen(capsys):
    status, out = run(capsys)
    lines = out.splitlines()
    assert status == 0 and len(lines) <= 24 and lines[-1].split() == ["verdict", "PASS"]
    for name in (f"dynsim {dynsim.__version__}", "numpy", "numba", "fma", "threads", "kernels", "bits"):
        assert name.split()[0] in out


def test_json(capsys):
    status, out = run(capsys, "--json", "--quiet")
    report = json.loads(out)
    assert status == 0 and report["passed"] is True
    assert report["dynsim"] == dynsim.__version__ and report["versions"]["numpy"] and report["threads"]["used"] >= 1
    assert report["bits"]["checked"] == (len(bits.QUICK) if bits.promised() else 0)


@pytest.mark.skipif(not bits.promised(), reason="bits are promised on x86-64 with fused multiply-add")
def test_other_bits_are_a_failure(capsys, monkeypatch):
    monkeypatch.setitem(bits.HASHES, "orbit, flow", "0" * 16)
    status, out = run(capsys)
    assert status == 1 and "DIFFERENT in orbit, flow: please report" in out and "FAIL" in out
    assert json.loads(run(capsys, "--json")[1])["bits"]["different"] == ["orbit, flow"]


def test_no_verdict_on_bits_without_fused_multiply_add(capsys, monkeypatch):
    monkeypatch.setattr(bits, "promised", lambda: False)
    status, out = run(capsys)
    assert status == 0 and "not promised here" in out


def test_a_folder_that_cannot_be_written_is_a_failure(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_cache", lambda: {"folder": str(tmp_path), "writable": False})
    status, out = run(capsys)
    assert status == 1 and f"cannot be kept: {tmp_path}; set NUMBA_CACHE_DIR" in out


def test_no_folder_at_all_is_a_failure(capsys, monkeypatch):
    def none():
        raise RuntimeError("cannot cache function: no locator")

    monkeypatch.setattr(doctor, "_cache", none)
    status, out = run(capsys)
    assert status == 1 and "cannot be kept: cannot cache function: no locator" in out and "not checked" in out


@pytest.mark.skipif(not hasattr(reconstruction.empirical_blocks, "stats"), reason="kernels are not compiled")
def test_where_kernels_are_kept(tmp_path):
    assert doctor._cache()["folder"]
