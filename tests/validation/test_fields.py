"""The battery of checks: every registered field passes, and broken ones fail in what is broken."""

import numpy as np
import pytest
from broken_fields import (
    ChangesItsInput,
    Factor,
    LosesAnOption,
    MovesWhatIsHeld,
    NeverMoves,
    OtherEvents,
    Remembers,
    SeesAnotherLoss,
    Sign,
    StartsElsewhere,
    TakesNonsense,
    ThreadDependentSum,
    TooMuchAttention,
    Uphill,
    WrongDim,
)

import dynsim
from dynsim.reduced import (
    FIELDS,
    ContrastiveField,
    ContrastiveOrbitField,
    EmpiricalField,
    ImageContrastiveField,
    ImageField,
    MinibatchField,
    OrbitField,
    PopulationField,
    SumField,
    field_class,
)
from dynsim.validation import check_field

PROBLEM = dynsim.Problem(K=2, gamma=0.5, P=16, kappa_c=0.6, kappa_s=0.4)
PART = dynsim.Partition.random(PROBLEM, seed=1)
DATA = dynsim.sample(PROBLEM, PART, n=6, seed=2)
WHOLE = dynsim.Problem(K=2, gamma=0.7, P=4096, kappa_c=0.85, kappa_s=0.65)  # where no class has less than half a key
PRODUCT = dynsim.Problem(K=2, gamma=0.75, P=64, kappa_c=2 / 3, kappa_s=0.5)
PAIRS = dynsim.sample_pairs(PROBLEM, PART, n=5, seed=3)
_draw = np.random.default_rng(4)
PATCHES = _draw.normal(size=(6, 9, 3))
IMAGES, OTHERS = (
    dynsim.Images(PATCHES, np.argsort(_draw.random((6, 9)), axis=1) < 6, (3, 3)) for _ in range(2)
)
VECTORS = dynsim.Embedding.sinusoidal_2d(PART, 24)


@pytest.mark.parametrize("key", [key for key in FIELDS if field_class(key).offered()])
def test_every_registered_field_passes(key):
    cls = field_class(key)
    few = {option.name: 6 for option in cls.options if option.name == "n" and option.default}
    pictures = {option.name: IMAGES for option in cls.options if option.selects}
    report = check_field(cls.from_options(PROBLEM if cls.seeded else WHOLE, seed=3, **few, **pictures))
    assert report.passed, report
    skipped = ([] if cls.objective == "reconstruction" else ["gradient"]) + ["errors"] * bool(pictures)
    assert [check.name for check in report.checks if check.skipped] == skipped
    assert repr(report).startswith(f"FieldReport of {cls.__name__}: PASS, {len(report.checks) - len(skipped)}")
    assert report.to_dict()["passed"] is True


def test_a_loss_that_hardly_moves_is_held_to_what_rounding_leaves(monkeypatch):
    """One cluster, one amplitude: views differ by their masks alone, and the loss of 6e-8 is a difference of numbers of 1e-2."""
    problem = dynsim.Problem(K=1, gamma=0.5, P=4096, kappa_c=0.85, kappa_s=0.65, amplitude=dynsim.Fixed(1.0))
    field = ContrastiveOrbitField(problem, stop_gradient=False)
    assert check_field(field).passed
    true = ContrastiveOrbitField._loss
    monkeypatch.setattr(ContrastiveOrbitField, "_loss", lambda self: 1.001 * true(self))  # control
    assert "gradient" in [check.name for check in check_field(field).checks if not check.passed]


@pytest.mark.parametrize(
    "field",
    [
        EmpiricalField(PART, DATA, embedding=VECTORS),
        EmpiricalField(PART, DATA, embedding=VECTORS, hold="pp"),
        EmpiricalField(PART, DATA, embedding=VECTORS.with_token(np.linspace(-1, 1, 24), "token")),
        MinibatchField.of(PART, DATA, n=4, seed=5, hold="fp"),
        PopulationField(PROBLEM, PART, masks="mean-field"),
        PopulationField(PROBLEM, PART, masks="monte-carlo", n=8, seed=3),
        OrbitField(PRODUCT, "LG", intersections="product"),
        OrbitField(PRODUCT, "GG", masks="mean-field", intersections="product"),
        SumField([(1.0, EmpiricalField(PART, DATA)), (0.5, PopulationField(PROBLEM, PART))]),
        ContrastiveField(PART, PAIRS, stop_gradient=False),
        ContrastiveField(PART, PAIRS, stop_gradient=False, embedding=VECTORS, hold="fp"),
        SumField([(1.0, EmpiricalField(PART, DATA)), (3.0, ContrastiveField(PART, PAIRS, 0.2, stop_gradient=False))]),
        ImageField(IMAGES),
        ImageField(IMAGES, token=np.linspace(-1, 1, 3), hold="pp"),
        ImageField(IMAGES, batch=3, seed=4),
        ImageContrastiveField(IMAGES, OTHERS, stop_gradient=False),
    ],
    ids=[
        "vectors", "held", "token", "chosen", "mean-field", "monte-carlo", "product", "global", "sum", "contrastive",
        "pair vectors", "mixed", "images", "image token", "image batch", "image pairs",
    ],
)
def test_other_fields_pass(field):
    report = check_field(field)
    assert report.passed, report


@pytest.mark.parametrize(
    "cls, options, failing, why",
    [
        (Sign, {}, "gradient", "not minus the gradient"),
        (Factor, {}, "gradient", "not minus the gradient"),
        (ThreadDependentSum, {}, "threads", "number of threads"),
        (LosesAnOption, {"hold": "pp"}, "recipe", "another description"),
        (WrongDim, {}, "shapes", "axis feature has 10 and 16 entries"),
        (ChangesItsInput, {}, "purity", "changes the state"),
        (StartsElsewhere, {}, "shapes", "starts from zero"),
        (OtherEvents, {}, "flow", "events of the field"),
        (TooMuchAttention, {}, "shapes", "is not between zero and one"),
        (Uphill, {}, "descend", "the loss is 0.4352, above"),
        (SeesAnotherLoss, {}, "one pass", "another loss"),
        (Remembers, {}, "resume", "other bits"),
        (TakesNonsense, {}, "errors", "is not allowed and not refused"),
        (MovesWhatIsHeld, {"hold": "fp"}, "descend", "fp is held and moves"),
        (NeverMoves, {}, "gradient", "nothing moves"),
    ],
    ids=[
        "sign", "factor", "threads", "recipe", "dim", "input", "start", "events", "attention", "uphill", "one pass", "resume",
        "errors", "hold", "mobility",
    ],
)
def test_broken_fields_fail_in_what_is_broken(cls, options, failing, why, monkeypatch):
    monkeypatch.setitem(FIELDS, "broken", f"broken_fields:{cls.__name__}")
    report = check_field(cls(PART, DATA, **options))
    found = {check.name: check.found for check in report.checks if not check.passed}
    assert failing in found and why in found[failing], report
    assert not report.passed and "FAIL" in repr(report) and why in repr(report)


def test_a_field_that_is_not_registered_is_checked_as_far_as_it_goes():
    class Own(EmpiricalField):
        method = "nowhere"

    report = check_field(Own(PART, DATA))
    assert report.passed
    assert [check.name for check in report.checks if check.skipped] == ["recipe", "threads", "second process"]
