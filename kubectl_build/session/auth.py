"""Registry logins for the daemon, given for the one host that it asks for.

Only Credentials is served: without a token authority the daemon fetches tokens itself, from where it is, with its own trust in
registries.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubectl_build.model.credentials import Keychain
from kubectl_build.proto.auth_pb2 import CredentialsRequest, CredentialsResponse
from kubectl_build.session.rpc import Handler, frame
from kubectl_build.session.stream import ServerStream


class Auth:
    """moby.filesync.v1.Auth over a keychain. A host that the keychain does not know is answered with empty strings: anonymous."""

    def __init__(self, keychain: Keychain) -> None:
        self._keychain = keychain
        self.methods: Mapping[str, Handler] = {"/moby.filesync.v1.Auth/Credentials": self._credentials}

    async def _credentials(self, stream: ServerStream) -> None:
        request = CredentialsRequest.FromString(await stream.receive_one())
        found = await self._keychain.resolve(request.Host)
        answer = CredentialsResponse(Username=found.username, Secret=found.secret) if found else CredentialsResponse()
        await stream.send(frame(answer.SerializeToString()))
