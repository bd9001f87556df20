"""`dynsim doctor`: what a report of a defect needs, and whether kernels give the bits that they gave elsewhere."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import Any

from dynsim import __version__
from dynsim.cli import _show
from dynsim.cli._options import add_output

NEEDED = ("numpy", "scipy", "numba", "llvmlite", "matplotlib", "rich", "joblib")
EXTRAS = ("xarray", "pandas", "h5netcdf", "h5py", "distributed", "pillow", "scikit-image", "bokeh", "uniplot", "torch")
FEATURES = ("fma", "avx2", "avx512f")
SETTINGS = (
    "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS", "OPENBLAS_CORETYPE",
    "OMP_NUM_THREADS",
)


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "doctor",
        help="say what a report of a defect needs, and check this installation",
        description="Versions, processor, threads, the folder of compiled kernels, and short runs held against the bits they had "
        "elsewhere. Exit status 1 where the folder cannot be written or bits differ.",
    )
    add_output(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Print the report; exit status 0 where all is well, else 1."""
    report = examine(args)
    if args.json:
        _show.print_json(report)
    else:
        for name, text in _lines(report):
            _show.say(f"{name:<11}{text}")
    return 0 if report["passed"] else 1


def examine(args: Namespace) -> dict[str, Any]:
    """The report as plain data; "passed" is the verdict."""
    import platform

    report: dict[str, Any] = {
        "dynsim": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "versions": {name: _version(name) for name in NEEDED},
        "extras": {name: _version(name) for name in EXTRAS},
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    report["processor"] = {"name": binding.get_host_cpu_name(), **{name: bool(features.get(name)) for name in FEATURES}}
    try:
        report["cache"] = _cache()
        report["threads"] = _threads()
        report["bits"] = _bits(args)
    except RuntimeError as error:  # numba found no folder for compiled kernels
        report["cache"] = {"folder": None, "writable": False, "why": " ".join(str(error).split())}
    report["passed"] = report["cache"]["writable"] and "bits" in report and not report["bits"]["different"]
    return report


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _threads() -> dict[str, int]:
    from dynsim.reduced.kernels.threads import thread_count

    return {"used": thread_count(), "cores": os.cpu_count() or 1}


def _cache() -> dict[str, Any]:
    """Where compiled kernels go, and whether they can."""
    from pathlib import Path

    from dynsim.reduced.kernels.reconstruction import empirical_blocks

    if not hasattr(empirical_blocks, "stats"):  # NUMBA_DISABLE_JIT
        return {"folder": None, "writable": True}
    folder = Path(str(empirical_blocks.stats.cache_path))
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return {"folder": str(folder), "writable": os.access(there, os.W_OK | os.X_OK)}


def _bits(args: Namespace) -> dict[str, Any]:
    """Short runs held against stored hashes, where their bits are promised."""
    from dynsim.validation import bits

    if not bits.promised():
        return {"checked": 0, "different": [], "seconds": 0.0}
    with _show.telling_of_compilation(args):
        began = time.perf_counter()
        found = bits.same_bits()
    seconds = round(time.perf_counter() - began, 2)
    return {"checked": len(found), "different": [one.case for one in found if not one.passed], "seconds": seconds}


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report for a person: names, texts."""
    had = {name: found for name, found in report["extras"].items() if found}
    listed = lambda found: ", ".join(f"{name} {number}" for name, number in found.items()) or "none"  # noqa: E731
    processor, cache, bits = report["processor"], report["cache"], report.get("bits")
    lines = [
        ("dynsim", f"{report['dynsim']}, Python {report['python']}"),
        ("system", report["system"]),
        ("processor", f"{processor['name']}: " + ", ".join(f"{'' if processor[name] else 'no '}{name}" for name in FEATURES)),
        ("versions", listed(report["versions"])),
        ("extras", listed(had)),
        ("settings", ", ".join(f"{name}={value}" for name, value in report["settings"].items()) or "none"),
    ]
    if "threads" in report:
        lines.append(("threads", f"{report['threads']['used']} of {report['threads']['cores']} cores"))
    if cache["writable"]:
        lines.append(("kernels", f"kept in {cache['folder']}" if cache["folder"] else "not compiled (NUMBA_DISABLE_JIT)"))
    else:
        why = cache.get("why", cache["folder"])
        lines.append(("kernels", f"cannot be kept: {why}; set NUMBA_CACHE_DIR to a folder of yours"))
    if bits is None:
        lines.append(("bits", "not checked"))
    elif bits["different"]:
        lines.append(("bits", f"DIFFERENT in {'; '.join(bits['different'])}: please report this page"))
    elif bits["checked"]:
        lines.append(("bits", f"the same as elsewhere in {bits['checked']} runs, {bits['seconds']:.1f} s"))
    else:
        lines.append(("bits", "not promised here: no x86-64 with fused multiply-add, or kernels are not compiled"))
    return [*lines, ("verdict", "PASS" if report["passed"] else "FAIL")]
