"""Hashes of short runs of every field under several targets of numba, OpenBLAS and NumPy, as a table; takes some minutes.

    python scripts/same_bits.py [CASE ...]

Each target compiles all kernels anew, into a folder that is removed. A row that is not the same throughout ends with "DIFFERENT",
and the exit status is then 1. What the first column says belongs into HASHES of dynsim/validation/bits.py.
"""

import json
import os
import subprocess
import sys
import tempfile

OLDER = "X86_V4 AVX512_ICL AVX512_SPR"  # instruction sets that NumPy does without, as on a processor of the name
TARGETS = {
    "native": {},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": OLDER},
    "znver2": {"NUMBA_CPU_NAME": "znver2", "OPENBLAS_CORETYPE": "Zen", "NPY_DISABLE_CPU_FEATURES": OLDER},
    "skylake-avx512": {"NUMBA_CPU_NAME": "skylake-avx512", "OPENBLAS_CORETYPE": "SkylakeX"},
}
PROGRAM = """
import json, sys
from dynsim.validation import bits
print(json.dumps({case: bits.digest(bits.run(case)) for case in sys.argv[1:] or bits.CASES}))
"""


def hashes(target, cases):
    """Hashes by case, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, **TARGETS[target], "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", PROGRAM, *cases]
        return json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)


def main(cases):
    """Print the table; 1 where a row differs."""
    found = {target: hashes(target, cases) for target in TARGETS}
    print(f"{'':36}", *(f"{target:16}" for target in TARGETS))
    different = 0
    for case in found["native"]:
        row = [found[target][case] for target in TARGETS]
        differs = len(set(row)) > 1
        different += differs
        print(f"{case:36}", *row, "DIFFERENT" if differs else "")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
