"""Starts the plugin on Windows: what pip's launcher runs, with the Python on PATH. Another version than 3.11 looks for that one."""

import os
import subprocess
import sys

_LAUNCH = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "launch.py")


def main() -> int:
    """Run the plugin and return its exit code."""
    if sys.version_info[:2] == (3, 11):
        python = [sys.executable]
    else:
        python = ["py", "-3.11"]
    try:
        return subprocess.run([*python, _LAUNCH, *sys.argv]).returncode
    except FileNotFoundError:
        print("error: kubectl buildkit needs Python 3.11, and there is none on PATH", file=sys.stderr)
        print("hint: install it (winget install Python.Python.3.11), or install the plugin with pipx", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
