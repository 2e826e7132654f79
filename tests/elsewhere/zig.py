"""The compiler for other systems: clang as PyPI's ziglang packs it, in a virtual environment for all suites."""

import functools
import sys

from support.harness import ROOT, command

VERSION = "0.17.1"  # another one may bring new warnings; raise it on purpose
PLACE = ROOT / "build" / "zig"


@functools.lru_cache(None)
def compiler():
    """The words that call it; made when it is not there."""
    python = PLACE / "bin" / "python"
    marker = PLACE / f"ziglang-{VERSION}"
    if not marker.is_file():
        command(sys.executable, "-m", "venv", PLACE)
        command(python, "-m", "pip", "install", "-q", f"ziglang=={VERSION}")
        marker.touch()
    return [str(python), "-m", "ziglang", "c++"]
