"""Embeddings: what each constructor promises, and what is refused."""

import numpy as np
import pytest

import dynsim
from dynsim.model.embedding import Embedding

PROBLEM = dynsim.Problem(K=2, gamma=0.5, P=12, kappa_c=0.7, kappa_s=0.4)


@pytest.fixture(scope="module")
def part():
    return dynsim.Partition.blocks(PROBLEM)


def test_orthonormal(part):
    n = part.P + part.F
    onehot = Embedding.orthonormal(part)
    np.testing.assert_array_equal(onehot.keys[:, : part.F], np.eye(n)[:, part.P :])
    assert onehot.is_orthonormal and onehot.is_onehot
    turned = Embedding.orthonormal(part, d=n + 3, seed=1)
    assert turned.is_orthonormal and not turned.is_onehot and turned.d == n + 3
    np.testing.assert_allclose(turned.gram, np.eye(n), atol=1e-14)
    np.testing.assert_array_equal(turned.E, Embedding.orthonormal(part, d=n + 3, seed=1).E)
    assert np.abs(turned.E - Embedding.orthonormal(part, d=n + 3, seed=2).E).max() > 0.1
    bent = turned.V.copy()
    bent[0, 0] += 1e-10
    assert not Embedding(turned.E, bent).is_orthonormal  # control
    assert not Embedding(onehot.E, -onehot.V).is_onehot
    assert not onehot.with_token(np.ones(n)).is_orthonormal


def test_sinusoidal_is_the_reference_definition(part):
    """One patch and one entry at a time: for each axis d / 4 sines, then d / 4 cosines, the column first."""
    d, T = 8, 100.0
    emb = Embedding.sinusoidal_2d(part, d, temperature=T, normalise=False)
    rows, columns = part.grid
    for p in range(part.P):
        for j in range(d):
            place = p % columns if j < d // 2 else p // columns
            i = j % (d // 2)
            angle = place / T ** ((i % (d // 4)) / (d // 4))
            assert emb.E[j, p] == pytest.approx(np.sin(angle) if i < d // 4 else np.cos(angle), abs=1e-15)
    np.testing.assert_allclose(np.linalg.norm(emb.E, axis=0), np.sqrt(d / 2), rtol=1e-15)
    unit = Embedding.sinusoidal_2d(part, d, temperature=T)
    np.testing.assert_allclose(unit.E * np.sqrt(d / 2), emb.E, rtol=1e-15)
    assert not unit.is_orthonormal and rows > 1
    # inner products depend on the distance only: sum of cosines
    places = np.stack(np.divmod(np.arange(part.P), columns))
    apart = places[:, :, None] - places[:, None, :]
    omega = T ** -(np.arange(d // 4) / (d // 4))
    np.testing.assert_allclose(unit.E.T @ unit.E, np.cos(apart[..., None] * omega).sum(axis=(0, 3)) * 2 / d, atol=1e-15)


@pytest.mark.parametrize("d", [4, 32])
def test_features_beside_sinusoidal_positions(part, d):
    emb = Embedding.sinusoidal_2d(part, d)
    gram = emb.V.T @ emb.V
    np.testing.assert_allclose(np.diag(gram), 1, rtol=1e-14)
    assert (np.abs(gram - np.eye(part.F)).max() < 1e-14) == (d >= part.F)


def test_random_are_unit_vectors(part):
    emb = Embedding.random(part, 5, seed=3)
    assert emb.E.shape == (5, part.P) and emb.V.shape == (5, part.F)
    np.testing.assert_allclose(np.diag(emb.gram), 1, rtol=1e-14)
    assert not emb.is_orthonormal


def test_correlated_features(part):
    gram = 0.3 + 0.7 * np.eye(part.F)
    emb = Embedding.correlated(part, gram)
    np.testing.assert_allclose(emb.V.T @ emb.V, gram, atol=1e-14)
    np.testing.assert_array_equal(emb.E.T @ emb.V, 0)
    np.testing.assert_array_equal(emb.E.T @ emb.E, np.eye(part.P))
    assert Embedding.correlated(part, np.eye(part.F)).is_orthonormal
    singular = np.ones((part.F, part.F))
    np.testing.assert_allclose(Embedding.correlated(part, singular).gram[: part.F, : part.F], singular, atol=1e-7)


def test_mask_token_joins_queries_and_keys(part):
    mu = np.arange(5.0)
    plain = Embedding.random(part, 5)
    emb = plain.with_token(mu, "token")
    np.testing.assert_array_equal(emb.queries[:, 3], plain.E[:, 3] + mu)
    np.testing.assert_array_equal(emb.keys[:, part.F], mu)
    assert emb.keys.shape == (5, part.F + 1 + part.P) and plain.keys.shape == (5, part.F + part.P)
    assert emb.describe()["token"] == {"norm": np.sqrt(30), "masked_value": "token"} and plain.describe()["token"] is None


def test_frozen(part):
    emb = Embedding.random(part, 5)
    with pytest.raises(ValueError, match="read-only"):
        emb.E[0, 0] = 1
    with pytest.raises(AttributeError):
        emb.E = np.eye(5)


def test_bad_input_is_named(part):
    eye, nan = np.eye(5), np.where(np.eye(5) > 0, np.nan, 0)
    for call, match in (
        (lambda: Embedding(np.ones(3), eye), r"E must be of shape \(d, P\), got \(3,\)"),
        (lambda: Embedding(eye, eye[:3]), "d=5 for E and 3 for V"),
        (lambda: Embedding(eye, eye, mu=np.ones(4)), "d=5 for E and 4 for mu"),
        (lambda: Embedding(eye, eye, mu=eye), r"mu must be of shape \(d,\)"),
        (lambda: Embedding(eye, None), r"V must be of shape"),
        (lambda: Embedding(eye, [["a"]]), "V must be real numbers"),
        (lambda: Embedding(nan, eye), r"E must be finite, got nan at \(0, 0\)"),
        (lambda: Embedding(eye, eye, masked_value="mu"), "masked_value must be 'zero' or 'token'"),
        (lambda: Embedding(eye, eye, masked_value="token"), "needs a mask token"),
        (lambda: Embedding(eye, eye).check(part), "one column per position, 12 here, got 5"),
        (lambda: Embedding(np.eye(12), np.eye(12)).check(part), "one column per feature"),
        (lambda: Embedding.orthonormal(part, d=part.P), rf"d >= P \+ F = {part.P + part.F}, got d=12: take d="),
        (lambda: Embedding.orthonormal(part, d=2.5), "d must be a whole number"),
        (lambda: Embedding.sinusoidal_2d(part, 10), "multiple of 4 .* got 10: take d=12"),
        (lambda: Embedding.sinusoidal_2d(part, 8, temperature=0), "temperature must be positive"),
        (lambda: Embedding.sinusoidal_2d(part, 8, temperature="1e4"), "temperature must be positive"),
        (lambda: Embedding.sinusoidal_2d(part, 8, seed=-1), "seed must be a whole number"),
        (lambda: Embedding.orthonormal(part, seed="a"), "seed must be a whole number"),
        (lambda: Embedding.random(part, 8, seed=1.5), "seed must be a whole number"),
        (lambda: Embedding.random(part, 0), "d must be a whole number"),
        (lambda: Embedding.correlated(part, eye[:2]), rf"gram must be \(F, F\) with F={part.F}"),
        (lambda: Embedding.correlated(part, np.triu(np.ones((part.F, part.F)))), "symmetric"),
        (lambda: Embedding.correlated(part, np.full((part.F, part.F), np.nan)), "finite"),
        (lambda: Embedding.correlated(part, 2 - np.eye(part.F)), "no negative eigenvalue, got -"),
    ):
        with pytest.raises(dynsim.InputError, match=match):
            call()
