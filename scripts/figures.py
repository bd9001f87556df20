"""All figures by one command: runs every figure_*.py beside this file, one after the other, each into the same folder.

    python scripts/figures.py --out docs/figures        (three to ten minutes; --quick: small versions, one)
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--quick", action="store_true", help="small versions, to see that all run")
parser.add_argument("--only", metavar="NAME", help="just this one, e.g. two_phases")
parser.add_argument("--out", default="figures", help="folder for all PNG and PDF files")
args = parser.parse_args()

scripts = sorted(Path(__file__).parent.glob(f"figure_{args.only or '*'}.py"))
if not scripts:
    parser.error(f"there is no figure {args.only!r}; there are {[p.stem[7:] for p in Path(__file__).parent.glob('figure_*.py')]}")
failed = []
for script in scripts:
    began = time.perf_counter()
    print(f"== {script.stem[7:]}", flush=True)
    done = subprocess.run([sys.executable, script, "--out", args.out, *(["--quick"] if args.quick else [])])
    failed += [script.name] if done.returncode else []
    print(f"   {time.perf_counter() - began:.0f} s", flush=True)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
