"""The grammars of the command line's values, one subject a module, spelled as `docker buildx build` spells them (v0.35.0)."""
