"""Where `kubectl build` tells a daemon something else than buildx on purpose: each difference once, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.parity_requests.cases import Case
from tests.parity_requests.told import Told

_POLICY = "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier"
_SECRETS = "moby.buildkit.secrets.v1.Secrets"
_SSH = "moby.sshforward.v1.SSH"


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
    return replace(
        theirs,
        others=[name for name in theirs.others if name != "SourcePolicySession"],
        services=[name for name in theirs.services if name != _POLICY],
    )


def _only_what_is_there(case: Case, theirs: Told) -> Told:
    empty = set() if "--secret" in case.words else {_SECRETS}
    if "--ssh" not in case.words and "SSH_AUTH_SOCK" not in case.environ:
        empty.add(_SSH)
    return replace(theirs, services=[name for name in theirs.services if name not in empty])


def _no_exports_of_questions(_case: Case, theirs: Told) -> Told:
    return replace(theirs, exporters=[]) if theirs.internal else theirs


DIFFERENCES = (
    Difference("-t alone keeps the image in the builder's store, which kbld and others look for; buildx drops it", _kept_image),
    Difference("attestations are off unless asked for, so that a plain build of one platform is no index", _no_default_provenance),
    Difference("there are no source policies; buildx offers to check one, even without any, for what the daemon fetches", _no_policy),
    Difference("a question has no result to export; buildx names the exporters, which get nothing", _no_exports_of_questions),
    Difference("a session without secrets or agents offers neither; buildx answers that it has none", _only_what_is_there),
)
