"""Types for JSON documents whose shape somebody else defines (Kubernetes objects, registry documents)."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
"""A JSON object as json.loads returns it. Readers check what they take from it."""
