"""What a registry's refusal says, in words for the user.

Error documents and codes: distribution specification v1.1, "Error Codes".
"""

from __future__ import annotations

import re

from kubectl_build.errors import RegistryError
from kubectl_build.model.json import parse_json
from kubectl_build.registry.http import Response, retry_after

_LONGEST_QUOTE = 256
_LIMIT = re.compile(r"(\d{1,9});w=(\d{1,9})")


def refusal(response: Response, registry: str, repository: str, actions: str, *, logged_in: bool) -> RegistryError:
    """The error for an answer that is not a success. `actions` is "pull" or "pull,push", `logged_in` whether a login was sent."""
    code, said = _diagnosis(response)
    verb = "push to" if "push" in actions else "pull from"
    wait = retry_after(response.headers)
    hint = None
    match response.status:
        case 401 if logged_in:
            message = f'registry "{registry}" does not accept the login to {verb} "{repository}"'
            hint = f"check the user and password in the secret or docker config that names {registry}"
        case 401:
            message = f'registry "{registry}" wants a login to {verb} "{repository}", and there is none'
            hint = _secret_hint(registry)
        case 403 if logged_in and "expired" in said:
            message = f'registry "{registry}" says that the login to {verb} "{repository}" has expired'
            hint = f"log in anew, and renew the secret or docker config that names {registry}"
        case 403 if logged_in:
            message = f'registry "{registry}" does not allow this login to {verb} "{repository}"'
            if "push" not in actions:
                hint = "a registry may say so of a repository that is not there, too: check its name"
        case 403:
            message = f'registry "{registry}" does not allow everybody to {verb} "{repository}"'
            hint = _secret_hint(registry)
        case 404:
            message = f'registry "{registry}" does not find what to {verb} "{repository}"'
        case 429:
            message = f'registry "{registry}" gets too many requests' + _limit(response)
            if wait:
                message += f", and wants {wait:.0f} s of quiet"
            if not logged_in:
                hint = f"a login may have a higher limit: {_secret_hint(registry)}"
        case status:
            message = f'registry "{registry}" answered {status} to a request to {verb} "{repository}"'
    if said:
        message += f": {said}"
    return RegistryError(message, status=response.status, code=code, retry_after=wait, hint=hint)


def _limit(response: Response) -> str:
    """The limit as Docker Hub tells it in its header RateLimit-Limit: "100;w=21600" is so many requests in so many seconds."""
    match = _LIMIT.fullmatch(response.headers.get("RateLimit-Limit", ""))
    if match is None:
        return ""
    return f" (it allows {match.group(1)} in {int(match.group(2)) / 3600:.3g} h)"


def _secret_hint(registry: str) -> str:
    return (
        f"kubectl create secret docker-registry NAME --docker-server={registry} --docker-username=USER --docker-password=PASSWORD, "
        "then build with --registry-secret NAME"
    )


def _diagnosis(response: Response) -> tuple[str, str]:
    """The first error's code, and all that the body says about it, in any of the forms that registries and token servers have."""
    code, said = "", ""
    try:
        document = parse_json(response.body)
        if isinstance(document.get("errors"), list):
            errors = [error for error in document["errors"] if isinstance(error, dict)]
            code = str(errors[0].get("code") or "") if errors else ""
            said = ", ".join(": ".join(str(part) for part in (e.get("code"), e.get("message")) if part) for e in errors)
        else:
            # Docker Hub's token server says details, oauth2 (RFC 6749, 5.2) error and error_description, others message.
            words = [document.get(name) for name in ("error", "error_description", "details", "message")]
            said = ": ".join(word for word in words if isinstance(word, str) and word)
    except (ValueError, TypeError, AttributeError):
        if response.headers.get("Content-Type", "").startswith("text/plain"):  # ECR's and some proxies' refusals
            said = response.body.decode(errors="replace").strip()
    return code, "".join(char if char.isprintable() else " " for char in said)[:_LONGEST_QUOTE]
