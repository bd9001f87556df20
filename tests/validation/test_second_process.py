"""The second process of the battery: it finds what only another process shows, and goes on after a field that kills it."""

import os

import numpy as np
import pytest
from broken_fields import DiesElsewhere, OtherElsewhere

import dynsim
from dynsim.reduced import FIELDS, EmpiricalField
from dynsim.validation import _fields, _second_process

PROBLEM = dynsim.Problem(K=2, gamma=0.5, P=16, kappa_c=0.6, kappa_s=0.4)
PART = dynsim.Partition.random(PROBLEM, seed=1)
DATA = dynsim.sample(PROBLEM, PART, n=6, seed=2)


@pytest.fixture(params=[True, False], ids=["forks", "does not fork"])
def forks(request, monkeypatch):
    """With a process that is kept, and one for every field; its own process before and after."""
    _second_process.end()
    monkeypatch.setattr(_second_process, "FORKS", request.param)
    monkeypatch.setattr(
        _second_process, "SERVE", _second_process.SERVE.replace("; ", f"; _second_process.FORKS = {request.param}; ", 1)
    )
    yield request.param
    _second_process.end()


def check(field):
    return _fields._elsewhere(field, np.full(field.start().shape, 0.1))


def test_it_is_kept_where_it_can_copy_itself(forks):
    seen = []
    for _ in range(2 if forks else 1):
        assert check(EmpiricalField(PART, DATA)) == "the same bits"
        seen += [kept.pid for kept in _second_process._kept.values()]
    assert len(seen) == (2 if forks else 0) and len(set(seen)) == (1 if forks else 0)


@pytest.mark.parametrize("cls, why", [(DiesElsewhere, "it died"), (OtherElsewhere, "other bits")], ids=["dies", "other"])
def test_what_only_another_process_shows_is_found(cls, why, monkeypatch):
    monkeypatch.setitem(FIELDS, "broken", f"broken_fields:{cls.__name__}")
    with pytest.raises(AssertionError, match=why) as found:
        check(cls(PART, DATA))
    assert "not an answer" not in str(found.value)
    assert check(EmpiricalField(PART, DATA))  # and it goes on


def test_an_error_is_one_line(forks):
    assert "InputError: result files end in .npz or .nc" in _second_process.digest(os.devnull, EmpiricalField(PART, DATA))


def test_a_copy_of_this_process_has_its_own(monkeypatch):
    assert check(EmpiricalField(PART, DATA))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert check(EmpiricalField(PART, DATA)) and set(_second_process._kept) > {-1}
    _second_process.end()
    assert -1 not in _second_process._kept
