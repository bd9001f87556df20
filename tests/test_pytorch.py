"""The example that trains the model in PyTorch and puts it on dynsim: it runs, agrees, and would say where it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "train_in_pytorch.py"


def run(script, folder):
    return subprocess.run([sys.executable, str(script), "--quick"], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_weights_trained_in_pytorch_follow_the_reduced_dynamics(tmp_path):
    pytest.importorskip("torch")
    done = run(SCRIPT, tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("Comparison: passed"), done.stdout + done.stderr
    assert [line.split(":")[0].strip() for line in done.stdout.splitlines()[1:]] == ["fp", "pp", "loss"]
    assert (tmp_path / "pytorch.png").read_bytes().startswith(b"\x89PNG")
    text = SCRIPT.read_text(encoding="utf-8")
    other = tmp_path / "other.py"  # control: weights trained with another step size are found out
    other.write_text(text.replace("lr=eta", "lr=1.01 * eta"), encoding="utf-8")
    assert other.read_text(encoding="utf-8") != text
    done = run(other, tmp_path)
    assert done.returncode == 1 and "fp: FAILED" in done.stdout, done.stdout + done.stderr
