"""What a registry's refusal says, in words for the user.

Error documents and codes: distribution specification v1.1, "Error Codes".
"""

from __future__ import annotations

import json

from kubectl_build.errors import RegistryError
from kubectl_build.registry.http import Response, retry_after

_LONGEST_QUOTE = 256


def refusal(response: Response, registry: str, repository: str, actions: str, *, logged_in: bool) -> RegistryError:
    """The error for an answer that is not a success. `actions` is "pull" or "pull,push", `logged_in` whether a login was sent."""
    code, said = _diagnosis(response)
    verb = "push to" if "push" in actions else "pull from"
    hint = None
    match response.status:
        case 401 if logged_in:
            message = f'registry "{registry}" does not accept the login to {verb} "{repository}"'
            hint = f"check the user and password in the secret or docker config that names {registry}"
        case 401:
            message = f'registry "{registry}" wants a login to {verb} "{repository}", and there is none'
            hint = _secret_hint(registry)
        case 403 if logged_in:
            message = f'registry "{registry}" does not allow this login to {verb} "{repository}"'
        case 403:
            message = f'registry "{registry}" does not allow everybody to {verb} "{repository}"'
            hint = _secret_hint(registry)
        case 404:
            message = f'registry "{registry}" does not find what to {verb} "{repository}"'
        case 429:
            message = f'registry "{registry}" gets too many requests'
        case status:
            message = f'registry "{registry}" answered {status} to a request to {verb} "{repository}"'
    if said:
        message += f": {said}"
    return RegistryError(message, status=response.status, code=code, retry_after=retry_after(response.headers), hint=hint)


def _secret_hint(registry: str) -> str:
    return (
        f"kubectl create secret docker-registry NAME --docker-server={registry} --docker-username=USER --docker-password=PASSWORD, "
        "then build with --registry-secret NAME"
    )


def _diagnosis(response: Response) -> tuple[str, str]:
    """The first error's code, and all that the body says about it."""
    try:
        document = json.loads(response.body)
        errors = [error for error in document["errors"] if isinstance(error, dict)]
        code = str(errors[0].get("code") or "")
        said = ", ".join(": ".join(str(part) for part in (e.get("code"), e.get("message")) if part) for e in errors)
    except (ValueError, TypeError, KeyError, IndexError):
        return "", ""
    return code, "".join(char if char.isprintable() else " " for char in said)[:_LONGEST_QUOTE]
