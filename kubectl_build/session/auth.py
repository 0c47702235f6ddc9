"""Registry logins or tokens for the daemon, given for the one host that it asks for.

Without a token fetcher only Credentials is served, and the daemon fetches tokens itself, from where it is, with its own trust in
registries. With one, the daemon is told that there is a token authority and leaves fetching to us. It then gets the login only of
registries that know no tokens. It may ask for others: before it asks who fetches tokens, it compares our login with those of other
builds that pulled the same image (BuildKit, util/resolver/authorizer.go), and BuildKit's own client gives it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials, Keychain
from kubectl_build.model.tokens import Token, TokenFetcher, TokenRequest
from kubectl_build.proto.auth_pb2 import (
    CredentialsRequest,
    CredentialsResponse,
    FetchTokenRequest,
    FetchTokenResponse,
    GetTokenAuthorityRequest,
    GetTokenAuthorityResponse,
)
from kubectl_build.session.rpc import PERMISSION_DENIED, UNKNOWN, Handler, RpcError, frame
from kubectl_build.session.stream import ServerStream

_SERVICE: Final = "/moby.filesync.v1.Auth/"
_KEY_SIZE: Final = 32
_READY_TOKEN_EXPIRY: Final = 60  # what BuildKit's own client says of a token that the user has put in a config


class Auth:
    """moby.filesync.v1.Auth over a keychain. A host that the keychain does not know is anonymous: empty strings, or nobody's token.

    Several sessions may share one.
    """

    def __init__(self, keychain: Keychain, tokens: TokenFetcher | None = None) -> None:
        self._keychain = keychain
        self._tokens = tokens
        self._takes_tokens: dict[str, bool] = {}
        self.methods: Mapping[str, Handler] = {_SERVICE + "Credentials": self._credentials}
        if tokens is not None:
            self.methods = {
                **self.methods,
                _SERVICE + "GetTokenAuthority": self._get_token_authority,
                _SERVICE + "FetchToken": self._fetch_token,
            }

    async def _credentials(self, stream: ServerStream) -> None:
        request = CredentialsRequest.FromString(await stream.receive_one())
        found = await self._keychain.resolve(request.Host)
        if found is not None and found.secret and await self._stays_here(request.Host):
            raise RpcError(PERMISSION_DENIED, f"the login for {request.Host} stays with the client, which fetches its tokens")
        answer = CredentialsResponse(Username=found.username, Secret=found.secret) if found else CredentialsResponse()
        await stream.send(frame(answer.SerializeToString()))

    async def _stays_here(self, host: str) -> bool:
        """Whether the daemon has no need of the login for `host`, since it can have tokens of us."""
        if self._tokens is None:
            return False
        if host not in self._takes_tokens:
            try:
                self._takes_tokens[host] = await self._tokens.takes_tokens(host)
            except RegistryError as exc:
                message = f"the login for {host} stays with the client, which cannot see whether tokens would do: {exc.message}"
                raise RpcError(PERMISSION_DENIED, message) from exc
        return self._takes_tokens[host]

    async def _get_token_authority(self, stream: ServerStream) -> None:
        """Say that tokens come from here.

        The key that the daemon wants serves it to recognise the same client in another session, so that both use one token. It gets
        random bytes, and VerifyTokenAuthority is not served: each session asks for tokens of its own, and no key has to be kept.
        """
        GetTokenAuthorityRequest.FromString(await stream.receive_one())
        await stream.send(frame(GetTokenAuthorityResponse(PublicKey=os.urandom(_KEY_SIZE)).SerializeToString()))

    async def _fetch_token(self, stream: ServerStream) -> None:
        message = FetchTokenRequest.FromString(await stream.receive_one())
        request = TokenRequest(host=message.Host, realm=message.Realm, service=message.Service, scopes=tuple(message.Scopes))
        credentials = await self._keychain.resolve(request.host, request.repository)
        token = await self._token(request, credentials)
        self._takes_tokens[request.host] = True
        answer = FetchTokenResponse(Token=token.value, ExpiresIn=token.expires_in, IssuedAt=token.issued_at)
        await stream.send(frame(answer.SerializeToString()))

    async def _token(self, request: TokenRequest, credentials: Credentials | None) -> Token:
        assert self._tokens is not None  # else FetchToken is not served
        if credentials is not None and credentials.registry_token:
            return Token(value=credentials.registry_token, expires_in=_READY_TOKEN_EXPIRY)
        try:
            return await self._tokens.fetch(request, credentials)
        except RegistryError as exc:
            # A status and no failure of the session: a cache that cannot be read, say, does not end the build. BuildKit's own words.
            kind = "anonymous" if credentials is None else "oauth"
            raise RpcError(UNKNOWN, f"failed to fetch {kind} token: {exc.message}") from exc
