"""Starts the plugin from the directory beside this file. The launchers run it with Python 3.11."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from kubectl_build.cli.main import buildkit_main

buildkit_main()
