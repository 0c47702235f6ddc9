"""What of a command or of a build's attributes is not shown to others (pure).

Secrets never are in arguments: a --secret has a file's or a variable's name. But people do put them into build arguments and URLs, so
values whose names look like those of secrets are masked, and passwords in URLs always.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MASK = "***"

_SECRET = re.compile(
    r"token|secret|passw|passphrase|(?:^|[_\-.:])(?:pass|pwd|pat|auth|key|cred(?:ential)?s?|session)(?:$|[_\-.])"
    r"|api_?key|private_?key|access_?key|credential|signature|bearer|authorization",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.\-]*://)[^/@\s]*@")
_URL_QUERY = re.compile(r"(?P<name>[?&;][^=&;#\s]+)=(?P<value>[^&;#\s]*)")
_JSON_PAIR = re.compile(r'"(?P<name>[^"\\]+)"\s*:\s*"(?:[^"\\]|\\.)*"')
_PAIR = re.compile(r"(?P<name>[A-Za-z_][\w.\-:]*)=(?P<value>[^,]*)")
_VALUES = ("--token", "--password", "--username")
"""Flags whose value is a login."""


def looks_secret(name: str) -> bool:
    """Whether a variable or argument of this name is likely to hold a secret."""
    return _SECRET.search(name) is not None


def masked_text(text: str) -> str:
    """`text` without logins in URLs, and without values of their parameters and of JSON whose names look secret."""
    text = _JSON_PAIR.sub(lambda found: f'"{found["name"]}":"{MASK}"' if looks_secret(found["name"]) else found[0], text)
    text = _URL_LOGIN.sub(rf"\g<scheme>{MASK}@", text)
    return _URL_QUERY.sub(lambda found: f"{found['name']}={MASK}" if looks_secret(found["name"]) else found[0], text)


def masked_pair(text: str) -> str:
    """NAME=VALUE, or a comma list of such, with the values of names that look secret masked. A whole VALUE is masked, commas and all, where
    the first name looks secret."""
    name, equals, _ = text.partition("=")
    if equals and looks_secret(name):
        return f"{name}={MASK}"
    return masked_text(_PAIR.sub(lambda found: f"{found['name']}={MASK}" if looks_secret(found["name"]) else found[0], text))


def masked_attrs(attrs: Mapping[str, str]) -> dict[str, str]:
    """A frontend's attributes as others may see them."""
    return {name: MASK if looks_secret(name) else masked_text(value) for name, value in sorted(attrs.items())}


def masked_command(argv: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line as others may see them."""
    found: list[str] = []
    masks_next = False
    for word in argv:
        name, equals, value = word.partition("=")
        if masks_next:
            found.append(MASK)
        elif name in _VALUES and equals:
            found.append(f"{name}={MASK}")
        elif name.startswith("--") and equals:
            found.append(f"{name}={masked_pair(value)}")
        else:
            found.append(masked_pair(word))
        masks_next = word in _VALUES
    return tuple(found)
