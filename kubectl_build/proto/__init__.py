"""The wire schema: our own minimal .proto files and the modules that protoc makes from them.

Regenerate with `make proto`. Only messages and fields that this client speaks are declared; names and numbers are
those of the projects named at the head of each file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys


def _load_when_used(package: str, name: str) -> None:
    """Put a module in its place that loads itself when something of it is used, unless it is loaded already."""
    full = f"{package}.{name}"
    parent = importlib.import_module(package)
    spec = importlib.util.find_spec(full)
    if full in sys.modules or spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    setattr(parent, name, module)  # the import statement would look at what stands in sys.modules, and so load it


# protobuf's messages in Python, and its text format behind them, are loaded by each generated module and used where there is no compiled
# implementation. They take 6 ms, of which nothing is used.
_load_when_used("google.protobuf.internal", "python_message")
