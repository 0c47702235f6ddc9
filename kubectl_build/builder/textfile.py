"""Text files that somebody names: configurations, certificates, manifests. Blocking."""

from __future__ import annotations

from pathlib import Path

from kubectl_build.errors import ConfigError, UsageError, system_words


def read_text(name: str, what: str) -> str:
    """The file `name`, which errors call `what`. Raises UsageError for one that cannot be read, ConfigError for one that is not UTF-8."""
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as exc:
        raise UsageError(f'{what} "{name}" cannot be read: {system_words(exc)}') from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f'{what} "{name}" is not UTF-8 text') from exc
