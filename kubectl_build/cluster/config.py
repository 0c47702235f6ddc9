"""Which cluster, as whom: from kubectl's flags, kubeconfig files and a pod's service account to a Connection.

Follows client-go's clientcmd (overrides.go, client_config.go), so that whatever kubectl can reach this program reaches. Decides and
reads files only; nothing here talks to the cluster.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from urllib.parse import urlsplit

from kubectl_build.cluster.authentication import Authentication, Authenticator, ClientCertificate, Fixed, TokenFile, basic, bearer
from kubectl_build.cluster.delegated import Delegated
from kubectl_build.cluster.exec_plugin import ExecPlugin, parse_exec
from kubectl_build.cluster.kubeconfig import Entry, Kubeconfig, load_kubeconfig
from kubectl_build.cluster.proxy import proxy_for
from kubectl_build.cluster.tls import TlsSettings
from kubectl_build.deadlines import parse_duration
from kubectl_build.errors import ConfigError
from kubectl_build.model.json import JsonObject
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.values import dataclass

IN_CLUSTER = "in-cluster"
"""The context's name for messages when a pod's own service account is used."""

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach an API server and as whom. `server` has no slash at its end; `request_timeout` is seconds (None: the default)."""

    server: str
    namespace: str = "default"
    context_name: str = ""
    user_name: str = ""
    tls: TlsSettings = field(default_factory=TlsSettings)
    authenticator: Authenticator = field(default_factory=Fixed, repr=False)
    proxy_url: str | None = field(default=None, repr=False)
    impersonation: tuple[tuple[str, str], ...] = ()
    request_timeout: float | None = None


def resolve(flags: KubeFlags, *, environ: Mapping[str, str], service_account: Path = _SERVICE_ACCOUNT) -> Connection:
    """Decide the connection. Raises ConfigError for configurations, UsageError for a malformed flag."""
    timeout = _duration(flags.request_timeout)
    kubeconfig = load_kubeconfig(flags.kubeconfig, environ)
    if kubeconfig.empty and not flags.server:
        named = flags.context or flags.cluster or flags.user  # names are of a kubeconfig; a pod's account has none
        chosen = None if named else _in_cluster(environ, service_account)
        if chosen is None:
            raise _nothing_configured(kubeconfig)
    else:
        chosen = _chosen(kubeconfig, flags)
    cluster = _with_cluster_flags(chosen.cluster, flags)
    user = _with_user_flags(chosen.user, flags)
    server = _server_url(cluster, chosen.cluster_name)
    connection = Connection(
        server=server,
        namespace=flags.namespace or _text(chosen.context, "namespace") or "default",
        context_name=chosen.name,
        user_name=chosen.user_name,
        proxy_url=proxy_for(server, _text(cluster, "proxy-url"), environ),
        impersonation=_impersonation(user.value, flags),
        request_timeout=timeout,
    )
    if server.startswith("http:"):
        return connection  # as kubectl: no credentials over a connection that anybody can read
    tls, authority = _tls(cluster)
    return replace(connection, tls=tls, authenticator=_authenticator(chosen, user, _cluster_info(cluster, server, authority), environ))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """A context with what it points at."""

    name: str
    context: Entry
    cluster_name: str
    cluster: Entry
    user_name: str
    user: Entry
    paths: tuple[Path, ...] = ()


def _chosen(kubeconfig: Kubeconfig, flags: KubeFlags) -> _Chosen:
    name = flags.context or kubeconfig.current_context
    nothing = Entry({}, Path())
    context = kubeconfig.contexts.get(name) if name else nothing
    if context is None:
        source = "--context" if flags.context else "the current-context"
        raise ConfigError(f'{source} "{name}" is not in the kubeconfig ({kubeconfig.where})', hint=_contexts_hint(kubeconfig))
    cluster_name = flags.cluster or _text(context, "cluster")
    if not cluster_name and not flags.server:
        problem = f'context "{name}" names no cluster' if name else "no context is chosen: there is no current-context"
        raise ConfigError(f"{problem} in the kubeconfig ({kubeconfig.where})", hint=_contexts_hint(kubeconfig))
    cluster = kubeconfig.clusters.get(cluster_name) if cluster_name else nothing
    if cluster is None:
        hint = _names_hint("clusters", kubeconfig.clusters)
        raise ConfigError(f'cluster "{cluster_name}" is not in the kubeconfig ({kubeconfig.where})', hint=hint)
    user_name = flags.user or _text(context, "user")
    user = kubeconfig.users.get(user_name) if user_name else nothing
    if user is None:
        hint = _names_hint("users", kubeconfig.users)
        raise ConfigError(f'user "{user_name}" is not in the kubeconfig ({kubeconfig.where})', hint=hint)
    return _Chosen(
        name=name, context=context, cluster_name=cluster_name, cluster=cluster, user_name=user_name, user=user, paths=kubeconfig.paths
    )


def _in_cluster(environ: Mapping[str, str], folder: Path) -> _Chosen | None:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (folder / "token").is_file():
        return None
    namespace = environ.get("POD_NAMESPACE") or ""
    if not namespace:
        try:
            namespace = (folder / "namespace").read_text().strip()
        except OSError:
            namespace = ""  # not every projected volume has it; client-go says "default" too
    cluster = {"server": f"https://{f'[{host}]' if ':' in host else host}:{port}", "certificate-authority": "ca.crt"}
    return _Chosen(
        name=IN_CLUSTER,
        context=Entry({"namespace": namespace}, folder),
        cluster_name=IN_CLUSTER,
        cluster=Entry(cluster, folder),
        user_name="the pod's service account",
        user=Entry({"tokenFile": "token"}, folder),
    )


def _nothing_configured(kubeconfig: Kubeconfig) -> ConfigError:
    if kubeconfig.missing and not kubeconfig.paths:
        message = f"there is no kubeconfig: {kubeconfig.where} does not exist"
    else:
        message = f"the kubeconfig {kubeconfig.where} is empty"
    return ConfigError(message, hint="set KUBECONFIG or --kubeconfig to the file that your cluster's provider gave you")


def _contexts_hint(kubeconfig: Kubeconfig) -> str:
    return _names_hint("contexts", kubeconfig.contexts) + ("; choose one with --context" if kubeconfig.contexts else "")


def _names_hint(kind: str, entries: Mapping[str, Entry]) -> str:
    return f"{kind} in it: {', '.join(sorted(entries))}" if entries else f"it has no {kind}"


def _with_cluster_flags(entry: Entry, flags: KubeFlags) -> Entry:
    value = dict(entry.value)
    if flags.server:
        # A server typed by hand makes the file's name for the old one wrong.
        value["server"] = flags.server
        value.pop("tls-server-name", None)
    if flags.tls_server_name:
        value["tls-server-name"] = flags.tls_server_name
    if flags.certificate_authority or flags.insecure_skip_tls_verify:
        for key in ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify"):
            value.pop(key, None)
        if flags.certificate_authority:
            value["certificate-authority"] = str(Path(flags.certificate_authority).absolute())
        if flags.insecure_skip_tls_verify:
            value["insecure-skip-tls-verify"] = True
    return Entry(value, entry.folder)


def _with_user_flags(entry: Entry, flags: KubeFlags) -> Entry:
    value = dict(entry.value)
    if flags.token or flags.username:
        for key in ("token", "tokenFile", "username", "password", "exec", "auth-provider"):
            value.pop(key, None)
        value |= {"token": flags.token} if flags.token else {"username": flags.username, "password": flags.password or ""}
    for key, path in (("client-certificate", flags.client_certificate), ("client-key", flags.client_key)):
        if path:
            value.pop(f"{key}-data", None)
            value[key] = str(Path(path).absolute())
    return Entry(value, entry.folder)


def _server_url(cluster: Entry, name: str) -> str:
    server = _text(cluster, "server")
    if not server:
        raise ConfigError(f'cluster "{name}" of the kubeconfig has no server')
    if "://" not in server:
        # client-go's DefaultServerURL: https only where something speaks of TLS.
        tls = any(cluster.value.get(key) for key in ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify"))
        server = f"{'https' if tls else 'http'}://{server}"
    try:
        url = urlsplit(server)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f'the server "{server}" of cluster "{name}" is not an http or https URL')
    return server.rstrip("/")


def _tls(cluster: Entry) -> tuple[TlsSettings, bytes | None]:
    authority = _data_or_file(cluster, "certificate-authority")
    insecure = bool(cluster.value.get("insecure-skip-tls-verify"))
    if insecure and authority is not None:
        message = "the cluster of the kubeconfig has both a certificate-authority and insecure-skip-tls-verify"
        raise ConfigError(message, hint="remove one of them")
    return TlsSettings(ca=authority, insecure=insecure, server_name=_text(cluster, "tls-server-name") or None), authority


def _cluster_info(cluster: Entry, server: str, authority: bytes | None) -> JsonObject:
    """What an exec plugin is told of the cluster (the type Cluster of client.authentication.k8s.io)."""
    info: JsonObject = {"server": server}
    for key in ("tls-server-name", "insecure-skip-tls-verify", "proxy-url"):
        if cluster.value.get(key):
            info[key] = cluster.value[key]
    if authority is not None:
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    for extension in cluster.value.get("extensions") or []:
        if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def _authenticator(chosen: _Chosen, user: Entry, cluster_info: JsonObject, environ: Mapping[str, str]) -> Authenticator:
    value = user.value
    chain, key = _data_or_file(user, "client-certificate"), _data_or_file(user, "client-key")
    if (chain is None) != (key is None):
        have, lack = ("client-certificate", "client-key") if key is None else ("client-key", "client-certificate")
        raise ConfigError(f'user "{chosen.user_name}" of the kubeconfig has a {have} but no {lack}')
    certificate = ClientCertificate(chain, key) if chain is not None and key is not None else None
    if value.get("tokenFile"):  # before `token`, as client-go has it
        return TokenFile(user.folder / str(value["tokenFile"]), certificate=certificate)
    authorization = ""
    if value.get("token"):
        authorization = bearer(str(value["token"]))
    elif value.get("username"):
        authorization = basic(str(value["username"]), str(value.get("password") or ""))
    elif value.get("exec"):
        spec = parse_exec(chosen.user_name, value["exec"], folder=user.folder, cluster=cluster_info)
        return ExecPlugin(spec, environ=environ, certificate=certificate)
    elif value.get("auth-provider"):
        return _delegated(chosen, certificate)
    return Fixed(Authentication(authorization=authorization, certificate=certificate))


def _delegated(chosen: _Chosen, certificate: ClientCertificate | None) -> Authenticator:
    if chosen.user_name != _text(chosen.context, "user"):
        hint = f'add a context with user "{chosen.user_name}" to the kubeconfig and choose it with --context'
        raise ConfigError(f'--user "{chosen.user_name}" has an auth-provider, which works only through a context', hint=hint)
    return Delegated(paths=chosen.paths, context=chosen.name, user=chosen.user_name, certificate=certificate)


def _impersonation(user: JsonObject, flags: KubeFlags) -> tuple[tuple[str, str], ...]:
    name = flags.as_user or user.get("as") or ""
    uid = flags.as_uid or user.get("as-uid") or ""
    groups = flags.as_groups or tuple(user.get("as-groups") or ())
    extra = user.get("as-user-extra") or {}
    if not name:
        if uid or groups or extra:
            raise ConfigError("--as-group and --as-uid need a user to act as, and none is named", hint="add --as USER")
        return ()
    headers = [("Impersonate-User", str(name))]
    headers += [("Impersonate-Uid", str(uid))] if uid else []
    headers += [("Impersonate-Group", str(group)) for group in groups]
    headers += [(f"Impersonate-Extra-{key}", str(value)) for key, values in extra.items() for value in values]
    return tuple(headers)


def _data_or_file(entry: Entry, key: str) -> bytes | None:
    """Return `<key>-data` decoded, else the file that `<key>` names, else None."""
    data = entry.value.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(data if isinstance(data, bytes) else str(data), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise ConfigError(f"{key}-data of the kubeconfig is not base64") from exc
    path = _text(entry, key)
    if not path:
        return None
    try:
        return (entry.folder / path).read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read the {key} {entry.folder / path}: {exc.strerror or exc}") from exc


def _text(entry: Entry, key: str) -> str:
    value = entry.value.get(key) or ""
    if not isinstance(value, str):
        raise ConfigError(f"{key} of the kubeconfig is not a string")
    return value


def _duration(value: str | None) -> float | None:
    """Read --request-timeout: seconds as a bare number, or a Go duration (1m30s). 0 means none was asked for, as in kubectl."""
    if not value or re.fullmatch(r"0+(ns|us|µs|ms|s|m|h)?", value):
        return None
    return parse_duration(value, "--request-timeout")
