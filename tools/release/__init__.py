"""Archives, krew's manifest and the image for CI. `python -m tools.release` says what there is."""
