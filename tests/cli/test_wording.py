"""Messages of the library name options where the command was used."""

import pytest

from dynsim.cli import main
from dynsim.cli._wording import in_options

NAMES = ["K", "gamma", "P", "kappa_c", "kappa_s", "L", "U", "eta", "n", "masks", "t_end", "query", "command", "run", "file"]


@pytest.mark.parametrize(
    "said, read",
    [
        ("kappa_c must be in [0, 1), got 1: take P^0.5 patches", "--kappa-c must be in [0, 1), got 1: take P^0.5 patches"),
        ("areas take P^kappa_c = 4: lower kappa_c or kappa_s", "areas take P^kappa_c = 4: lower --kappa-c or --kappa-s"),
        ("P counts patches, got 1.5: take P=2", "--P counts patches, got 1.5: take --P 2"),
        ("t_end, the time, must be positive: take e.g. t_end=1e4", "--t-end, the time, must be positive: take e.g. --t-end 1e4"),
        ('masks="exact" lists masks: use masks="own-area", fewer', "--masks exact lists masks: use --masks own-area, fewer"),
        ("the step size eta=5 is too large: try eta=0.3", "the step size eta=5 is too large: try --eta 0.3"),
        ("got --n 4 for masks exact: leave n out", "got --n 4 for masks exact: leave --n out"),
        ("got z=0: take e.g. Uniform(0.8, 1.2) or Fixed(1.0)", "got z=0: take e.g. --L 0.8 --U 1.2"),
        ("got random vectors: take Embedding.orthonormal(part)", "got random vectors: take --embedding orthonormal"),
        ("OrbitField is built in Python only", "--method orbit is built in Python only"),
        ("a run goes on from its own file", "a run goes on from its own file"),  # control: names that are words here
        ("of P=9 patches, got gamma=0.99: less", "of P=9 patches, got --gamma 0.99: less"),
        ("queries are many, gammas too, K and P small", "queries are many, gammas too, K and P small"),
    ],
)
def test_arguments_become_options(said, read):
    assert in_options(said, NAMES) == read


def test_nothing_is_changed_without_options():
    assert in_options("gamma is the masked fraction", ["command", "run"]) == "gamma is the masked fraction"


@pytest.mark.parametrize(
    "line, said",
    [
        ("--gamma 1.2", "dynsim: --gamma is the masked fraction, strictly between 0 and 1, got 1.2: take e.g. 0.75"),
        ("--kappa-c 1", "dynsim: --kappa-c must be in [0, 1), got 1"),
        ("--P 100.5 --method samples", "dynsim: --P counts patches, got 100.5: take --P 100"),
        ("--t-end -1", "dynsim: --t-end, the time to integrate to, must be positive and finite"),
        ("--method samples --K 1 --P 16 --steps 9 --eta 1e9", "try --eta "),
        ("--query LGX", "dynsim: --query has one L or G per cluster"),
        ("--method samples --P 16 --optimiser adam --embedding random", "take --embedding orthonormal, or full.descend"),
        ("--method samples --optimiser momentum --beta 2", "dynsim: --beta is a decay rate in [0, 1), got 2.0: take e.g. 0.9"),
    ],
)
def test_the_command_says_options(capsys, line, said):
    assert main(["simulate", *line.replace("--t-end -1", "--t-end=-1").split()]) == 2
    err = capsys.readouterr().err
    assert said in err and "Field" not in err and "kappa_c must" not in err and len(err.splitlines()) <= 2
