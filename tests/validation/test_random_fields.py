"""check_field on fields of drawn problems: every registered field that options build, with any of its options.

DYNSIM_EXAMPLES sets how many are drawn (30; before a release 2,000); the same number draws the same ones.
"""

import os

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import dynsim
from dynsim.reduced import FIELDS, ImageField, field_class
from dynsim.validation import _fields, check_field

EXAMPLES = settings(max_examples=int(os.environ.get("DYNSIM_EXAMPLES", 30)))
KEYS = [key for key in FIELDS if field_class(key).offered()]
COUNT: dict[str, int] = {}

VALUES = {  # of options that are numbers; those with choices and booleans say themselves what they may be
    "n": st.integers(2, 5),
    "masks_per_image": st.integers(1, 3),
    "nodes": st.integers(2, 5),
    "weight": st.floats(0.0, 3.0),
    "temperature": st.floats(0.2, 2.0),
    "negatives": st.just(1),
    "d": st.sampled_from([None, 40]),
    "query": st.none(),
    "batch": st.integers(1, 4),
}


@st.composite
def small_problems(draw):
    """Few patches, any areas and amplitudes, as fields of given images take them."""
    amplitude = draw(st.sampled_from([dynsim.Uniform(0.8, 1.2), dynsim.Fixed(1.0), dynsim.Discrete((0.5, 1.5), (1, 2))]))
    kappa_c, kappa_s = draw(st.floats(0.0, 0.9)), draw(st.floats(0.0, 0.9))
    return draw(st.integers(1, 3)), draw(st.floats(0.1, 0.9)), draw(st.integers(4, 12)), kappa_c, kappa_s, amplitude


@st.composite
def whole_problems(draw):
    """Many patches, and no class of keys with less than half a key, where the closed velocity is a gradient (docs/model.md)."""
    amplitude = dynsim.Uniform(*draw(st.sampled_from([(0.8, 1.2), (1.0, 1.0), (0.5, 1.5)])))
    kappa_c, kappa_s = draw(st.floats(0.8, 0.9)), draw(st.floats(0.6, 0.7))
    return draw(st.integers(1, 2)), draw(st.floats(0.3, 0.9)), 4096, kappa_c, kappa_s, amplitude


@st.composite
def fields(draw):
    key = draw(st.sampled_from(KEYS))
    cls = field_class(key)
    names = {option.name for option in cls.options}
    if "images" in names:
        n, grid, rng = draw(st.integers(2, 5)), draw(st.sampled_from([(2, 2), (2, 3), (3, 3)])), draw(st.integers(0, 99))
        P, rng = grid[0] * grid[1], np.random.default_rng(rng)
        masked = np.argsort(rng.random((n, P)), axis=1) < draw(st.integers(1, P - 1))
        images = dynsim.Images(rng.normal(size=(n, P, draw(st.integers(1, 3)))), masked, grid)
        hold, batch = draw(st.sampled_from([None, "fp", "pp"])), draw(st.sampled_from([None, 2]))
        return key, ImageField(images, hold=hold, batch=batch, seed=1)
    options = {}
    for option in cls.options:
        if option.name == "n" and option.default:
            options["n"] = draw(VALUES["n"])  # always: the defaults are large
        elif draw(st.booleans()):
            if option.choices:
                options[option.name] = draw(st.sampled_from(option.choices))
            elif option.type is bool:
                options[option.name] = draw(st.booleans())
            elif option.name in VALUES:
                options[option.name] = draw(VALUES[option.name])
    if options.get("masks") == "monte-carlo":
        options["n"] = 4
    try:
        problem = dynsim.Problem(*draw(small_problems() if cls.seeded else whole_problems()))
        return key, cls.from_options(problem, seed=draw(st.integers(0, 99)), **options)
    except dynsim.InputError as error:  # no such problem, or options that do not go together
        assert "\n" not in str(error)
        reject()


def check(field):
    key, field = field
    report = check_field(field)
    COUNT[key] = COUNT.get(key, 0) + 1
    assert report.passed, (key, field.describe(), report)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """A process for every example takes a second; test_fields.py starts one for every field."""
    def skip(field, y):
        raise _fields._Skip("not here")

    monkeypatch.setattr(_fields, "_elsewhere", skip)


@EXAMPLES
@given(fields())
def test_drawn_fields_pass(field):
    check(field)


def test_all_of_them_were_drawn():
    if sum(COUNT.values()) < 200:
        pytest.skip("needs many drawn before it")
    print(COUNT)
    assert set(COUNT) == set(KEYS)
