"""Documents for programs, as `-o json` and `-o yaml` print them (pure)."""

from __future__ import annotations

import json

from kubectl_build.model.json import JsonObject


def document_text(document: JsonObject, output: str) -> str:
    """A document as `output`, "json" or "yaml", without a newline at the end."""
    if output == "json":
        return json.dumps(document, indent=2)
    from kubectl_build.builder.manifests import to_yaml  # brings yaml

    return to_yaml([document]).rstrip("\n")
