"""What an API server's refusal means, in words: HTTP status and Status object to an ApiError.

Classified by status code and the Status object's fields, never by its message, which is passed on; only a hint goes by that.
"""

from __future__ import annotations

from kubectl_build.cluster.resources import Resource
from kubectl_build.errors import AlreadyExists, ApiError, Conflict, Forbidden, Gone, Invalid, NotFound, Unauthorized
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.values import dataclass

_BODY_SHOWN = 256
"""How much of an answer that is no Status object (a proxy's page) may reach a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What was asked, for messages: `verb` is RBAC's (get, list, watch, create, patch, delete)."""

    verb: str
    resource: Resource
    name: str = ""
    namespace: str | None = None
    subresource: str = ""

    @property
    def target(self) -> str:
        """The object in words: pods "x" in namespace "y"."""
        what = self.resource.qualified + (f"/{self.subresource}" if self.subresource else "")
        return what + (f' "{self.name}"' if self.name else "") + self._place

    @property
    def _place(self) -> str:
        return f' in namespace "{self.namespace}"' if self.resource.namespaced and self.namespace else ""

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer other than success, as it came."""

    status: int
    body: bytes
    retry_after: float | None = None

    def document(self) -> JsonObject:
        """The Status object, or what can be said without one."""
        try:
            document = parse_json(self.body)
        except ValueError:
            document = None
        if isinstance(document, dict) and document.get("kind") == "Status":
            return document
        return {"message": self.body[:_BODY_SHOWN].decode(errors="replace").strip()}


def error_for(refusal: Refusal, action: Action | None, *, server: str, user: str) -> ApiError:
    """Make the error to raise. `action` None means a request about the server itself (its version)."""
    return status_error(refusal.status, refusal.document(), action, server=server, user=user)


def status_error(code: int, document: JsonObject, action: Action | None, *, server: str, user: str) -> ApiError:
    """The same from a Status object that came inside an answer (a watch's ERROR event)."""
    message = str(document.get("message") or "").strip()
    reason = str(document.get("reason") or "")
    said = f": {message}" if message else ""
    asked = str(action) if action else "ask for its version"
    match code:
        case 401:
            who = f'user "{user}"' if user else "nobody (no user is configured)"
            hint = "log in again, or check the user of the kubeconfig's context"
            return Unauthorized(f"the API server {server} does not accept the credentials of {who}", status=code, reason=reason, hint=hint)
        case 403:
            return _forbidden(f"not allowed to {asked}{said}", message, reason, action)
        case 404:
            return _not_found(document, action, server=server, said=said)
        case 409:
            kind = AlreadyExists if reason == "AlreadyExists" else Conflict
            return kind(f"cannot {asked}{said}", status=code, reason=reason)
        case 410:
            return Gone(f"cannot {asked}{said}", status=code, reason=reason)
        case 400 | 422:
            return Invalid(f"cannot {asked}{said}", status=code, reason=reason)
    return ApiError(f"the API server {server} answered {code} to: {asked}{said}", status=code, reason=reason)


def _forbidden(words: str, message: str, reason: str, action: Action | None) -> Forbidden:
    """Tell a right that is missing from what admission refuses: only what to do next depends on that.

    The Status objects of both are alike, so this goes by the words that the API server has for every authorizer's refusal.
    """
    if action is None or (message and " cannot " not in message):
        return Forbidden(words, status=403, reason=reason)
    return Forbidden(
        words,
        status=403,
        reason=reason,
        hint=_can_i(action),
        verb=action.verb,
        resource=action.resource.qualified + (f"/{action.subresource}" if action.subresource else ""),
        namespace=action.namespace,
    )


def _can_i(action: Action) -> str:
    subresource = f" --subresource={action.subresource}" if action.subresource else ""
    namespace = f" -n {action.namespace}" if action.resource.namespaced and action.namespace else ""
    command = f"kubectl auth can-i {action.verb} {action.resource.qualified}{subresource}{namespace}"
    return f"ask for the right; `{command}` tells whether you have it"


def _not_found(document: JsonObject, action: Action | None, *, server: str, said: str) -> NotFound:
    reason = str(document.get("reason") or "")
    details = document.get("details")
    details = details if isinstance(details, dict) else {}
    if details.get("kind") == "namespaces" and details.get("name"):
        name = details["name"]
        return NotFound(f'namespace "{name}" does not exist', status=404, reason=reason, hint=f"kubectl create namespace {name}")
    if action is not None and not reason and action.resource.group:
        served = f"{action.resource.api_version} {action.resource.plural}"
        return NotFound(f"the API server {server} does not serve {served}{said}", status=404, reason=reason)
    if action is None or not reason:
        hint = "check the server of the kubeconfig's cluster"
        return NotFound(f"there is no Kubernetes API at {server}{said}", status=404, reason=reason, hint=hint)
    if action.name and details.get("name"):
        return NotFound(f"{action.target} does not exist", status=404, reason=reason)
    return NotFound(f"cannot {action}{said}", status=404, reason=reason)
