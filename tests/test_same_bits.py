"""The same bits on every machine: one stored table of hashes under all targets, threads and interruptions."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding

import dynsim
from dynsim import reduced
from dynsim.reduced.recording import State
from dynsim.validation import bits

if not bits.promised():
    pytest.skip("bits are promised on x86-64 with fused multiply-add, where kernels are compiled", allow_module_level=True)

OLDER = "X86_V4 AVX512_ICL AVX512_SPR"  # instruction sets that NumPy does without, as on a processor of the name
TARGETS = {
    "haswell": {"NUMBA_CPU_NAME": "haswell", "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": OLDER},
    "znver2": {"NUMBA_CPU_NAME": "znver2", "OPENBLAS_CORETYPE": "Zen", "NPY_DISABLE_CPU_FEATURES": OLDER},
    "skylake-avx512": {"NUMBA_CPU_NAME": "skylake-avx512", "OPENBLAS_CORETYPE": "SkylakeX"},
}
PROGRAM = """
import json
from dynsim.validation import bits
print(json.dumps({case: bits.digest(bits.run(case)) for case in bits.CASES}))
"""


def test_every_field_is_in_the_table():
    assert {bits.field(case).method for case in bits.CASES} >= set(reduced.FIELDS)
    assert set(bits.HASHES) == set(bits.CASES) and set(bits.QUICK) <= set(bits.CASES)
    assert len(set(bits.HASHES.values())) == len(bits.HASHES)  # no run is another


@pytest.mark.parametrize("case", bits.CASES)
def test_this_machine_has_the_stored_hash(case):
    (found,) = bits.same_bits([case])
    assert found.passed, f"{found}: other bits; if numbers change on purpose, write the new hash into validation/bits.py"


def test_the_hash_sees_the_last_bit():
    run = bits.run("samples, descend")
    moved = run.fp.copy()
    moved[-1, 0, 0] = np.nextafter(moved[-1, 0, 0], 2.0)
    assert bits.digest(run) == bits.HASHES["samples, descend"] != bits.digest(dynsim.Trajectory(
        run.t, run.step, run.loss, moved, run.pp, run.attention, run.meta, run.terms, run.layout, run.recipe
    ))


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("case", ["samples, descend", "population, descend", "contrastive-samples, descend", "any-images, flow"])
def test_any_number_of_threads(case, threads, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
    for module in ("batch", "image", "contrastive"):
        monkeypatch.setattr(importlib.import_module(f"dynsim.reduced.{module}"), "SMALL", 0.0)
    assert bits.digest(bits.run(case)) == bits.HASHES[case]


@pytest.mark.parametrize("case", [case for case in bits.CASES if ", descend" in case] + ["population P=36, flow"])
def test_a_run_that_goes_on_from_a_checkpoint(case):
    states = []

    def keep(state, record):
        states.append(State(state.step, state.y.copy(), tuple(np.array(m) for m in state.memory), record.trajectory()))

    bits.run(case, checkpoint=keep)
    assert len(states) > 1
    again = bits.run(case, start=states[len(states) // 2])
    assert bits.digest(again) == bits.HASHES[case]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_other_processors(target, tmp_path):
    if target == "skylake-avx512" and not binding.get_host_cpu_features().get("avx512f"):
        pytest.skip("this processor has no AVX-512")
    env = {**os.environ, **TARGETS[target], "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == bits.HASHES
