"""Where `kubectl build` tells a daemon something else than buildx on purpose: each difference once, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.parity_requests.cases import Case
from tests.parity_requests.told import Told

_POLICY = "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier"
_SECRETS = "moby.buildkit.secrets.v1.Secrets"
_SSH = "moby.sshforward.v1.SSH"
_CONTENT = "containerd.services.content.v1.Content"
_NEVER_CALLED = {
    "grpc.health.v1.Health/List",
    "grpc.health.v1.Health/Watch",
    "moby.filesync.v1.FileSync/TarStream",
    *(f"{_CONTENT}/{method}" for method in ("Delete", "List", "Update")),
}
_TOKENS = {f"moby.filesync.v1.Auth/{method}" for method in ("FetchToken", "GetTokenAuthority")}
_TOKEN_REUSE = "moby.filesync.v1.Auth/VerifyTokenAuthority"


@dataclass(frozen=True, slots=True)
class Difference:
    """`meant` makes of what buildx tells in a case what we mean to tell."""

    reason: str
    meant: Callable[[Case, Told], Told]


def meant(case: Case, theirs: Told) -> Told:
    """What we mean to tell where buildx tells `theirs`."""
    for difference in DIFFERENCES:
        theirs = difference.meant(case, theirs)
    return theirs


def _kept_image(case: Case, theirs: Told) -> Told:
    if theirs.exporters or theirs.internal or case.name != "tag":
        return theirs
    return replace(theirs, exporters=[("image", {"name": "r.example/team/app:v1,docker.io/library/app:latest"})])


def _no_default_provenance(case: Case, theirs: Told) -> Told:
    if case.name != "default-attestations":
        return theirs
    return replace(theirs, attrs={name: value for name, value in theirs.attrs.items() if name != "attest:provenance"})


def _no_policy(_case: Case, theirs: Told) -> Told:
    others = [name for name in theirs.others if name != "SourcePolicySession"]
    return replace(_without(theirs, f"{_POLICY}/CheckPolicy"), others=others)


def _only_what_is_there(case: Case, theirs: Told) -> Told:
    empty = set() if "--secret" in case.words else {f"{_SECRETS}/GetSecret"}
    if "--ssh" not in case.words and "SSH_AUTH_SOCK" not in case.environ:
        empty |= {f"{_SSH}/CheckAgent", f"{_SSH}/ForwardAgent"}
    return _without(theirs, *empty)


def _only_what_is_called(_case: Case, theirs: Told) -> Told:
    return _without(theirs, *_NEVER_CALLED)


def _tokens_on_request(case: Case, theirs: Told) -> Told:
    return theirs if "--auth-via=client" in case.only_ours else _without(theirs, *_TOKENS)


def _no_reuse_of_tokens(_case: Case, theirs: Told) -> Told:
    return _without(theirs, _TOKEN_REUSE)


def _without(theirs: Told, *methods: str) -> Told:
    return replace(theirs, methods=[name for name in theirs.methods if name not in methods])


def _no_exports_of_questions(_case: Case, theirs: Told) -> Told:
    return replace(theirs, exporters=[]) if theirs.internal else theirs


DIFFERENCES = (
    Difference("-t alone keeps the image in the builder's store, which kbld and others look for; buildx drops it", _kept_image),
    Difference("attestations are off unless asked for, so that a plain build of one platform is no index", _no_default_provenance),
    Difference("there are no source policies; buildx offers to check one, even without any, for what the daemon fetches", _no_policy),
    Difference("a question has no result to export; buildx names the exporters, which get nothing", _no_exports_of_questions),
    Difference("a session without secrets or agents offers neither; buildx answers that it has none", _only_what_is_there),
    Difference("a session has no methods that daemons never call", _only_what_is_called),
    Difference("tokens are fetched by the client only with --auth-via=client: the cluster may reach what it does not", _tokens_on_request),
    Difference("each session asks for tokens of its own, so that no key has to be kept on disk to prove another's", _no_reuse_of_tokens),
)
