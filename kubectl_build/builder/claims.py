"""What becomes of a removed builder's claims. Kubernetes deletes them itself from 1.27 on, when it has seen their pod; this is surer."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.builder import names
from kubectl_build.builder.objects import delete_same
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PERSISTENTVOLUMECLAIMS
from kubectl_build.errors import Forbidden
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject


async def settle_claims(client: KubeClient, name: str, stateful_sets: Sequence[JsonObject], emit: Sink) -> None:
    """Delete the claims that `stateful_sets`, the pools of builder `name`, made to be deleted with them; name those that are kept.

    A user who may not list claims leaves them to Kubernetes. Raises ApiError.
    """
    made = {item["metadata"]["labels"][names.LABEL_ARCHITECTURE]: item["spec"] for item in stateful_sets}
    if not any(spec.get("volumeClaimTemplates") for spec in made.values()):
        return
    try:
        claims = (await client.list(PERSISTENTVOLUMECLAIMS, label_selector=names.selector(name))).items
    except Forbidden:
        return
    deleted: list[JsonObject] = []
    kept: list[JsonObject] = []
    for claim in claims:
        policy = made.get(claim["metadata"]["labels"].get(names.LABEL_ARCHITECTURE), {}).get("persistentVolumeClaimRetentionPolicy") or {}
        (deleted if policy.get("whenDeleted") == "Delete" else kept).append(claim)
    await together(*(delete_same(client, PERSISTENTVOLUMECLAIMS, claim) for claim in deleted))
    if kept:
        words = ", ".join(sorted(claim["metadata"]["name"] for claim in kept))
        emit(Note(text=f'the cache of builder "{name}" is kept: {words}; kubectl delete pvc -l {names.selector(name)} gives it up'))
