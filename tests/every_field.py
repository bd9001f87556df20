"""A small field for every name in the registry, for tests that hold for all of them."""

import numpy as np

import dynsim
from dynsim.reduced import (
    FIELDS,
    ContrastiveField,
    EmpiricalField,
    ImageContrastiveField,
    ImageField,
    MixedImageField,
    SumField,
    field_class,
)

PROBLEM = dynsim.Problem(K=2, gamma=0.5, P=16, kappa_c=0.6, kappa_s=0.4)
WHOLE = dynsim.Problem(K=2, gamma=0.7, P=4096, kappa_c=0.85, kappa_s=0.65)  # for orbits: no class has less than half a key
PART = dynsim.Partition.random(PROBLEM, seed=1)
_draw = np.random.default_rng(4)
_patches = _draw.normal(size=(6, 9, 3))
IMAGES, OTHERS = (dynsim.Images(_patches, np.argsort(_draw.random((6, 9)), axis=1) < 6, (3, 3)) for _ in range(2))

BUILT = {  # what no options build, or only those that name a file
    "any-images": lambda: ImageField(IMAGES),
    "contrastive-any-images": lambda: ImageContrastiveField(IMAGES, OTHERS),
    "mixed-any-images": lambda: MixedImageField.from_options(images=IMAGES, seed=3),
    "sum": lambda: SumField([
        (1.0, EmpiricalField(PART, dynsim.sample(PROBLEM, PART, n=6, seed=2))),
        (0.5, ContrastiveField(PART, dynsim.sample_pairs(PROBLEM, PART, n=5, seed=3))),
    ]),
}
EVERY = list(FIELDS)


def small(key):
    """The field of that name, on a few images of a small problem."""
    if key in BUILT:
        return BUILT[key]()
    cls = field_class(key)
    few = {option.name: 6 for option in cls.options if option.name == "n" and option.default}
    return cls.from_options(PROBLEM if cls.seeded else WHOLE, seed=3, **few)
