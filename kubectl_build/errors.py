"""Every error that this program tells a user, in one tree.

    KubectlBuildError                exit code, message, hint
    |- BuildError                1   the build itself failed
    |  |- SolveError                 a step or the frontend failed: Dockerfile lines, end of the step's log
    |  `- ContextChanged             a file of the context changed while it was sent
    |- UsageError                2   flag, reference, platform, a path, a request that cannot be met
    |- ConfigError               3   kubeconfig, docker config, defaults, a named secret
    |- ClusterError              4   the Kubernetes API or a builder
    |  |- ApiError                   a status answer of the API server
    |  |  |- NotFound  Forbidden  Unauthorized  Conflict  AlreadyExists  Invalid  Gone
    |  |- ApiUnreachable             no answer at all
    |  `- BuilderNotReady            a builder that cannot be started, with the reason
    |- ConnectionLost            5   a pod, a stream or the daemon went away
    |  |- DialError                  the connection never came to be
    |  `- ProtocolError              the peer said what it may not say
    |- RegistryError             6   a registry refused or could not be reached
    `- TimedOut                124   the user's own --timeout

Messages are lower-case sentences without a final dot that name the thing and its value; a hint names the next command.
Exit codes are those of docs/cli.md. Interrupts (129, 130, 143) are not errors of this tree: the cli turns signals into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kubectl_build.values import dataclass


class KubectlBuildError(Exception):
    """The root: `message` for the user, an optional `hint` (what to do next) and the process's exit code.

    `transient` tells that what is between here and there has failed, so that another try may go well.
    """

    exit_code = 1
    transient = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BuildError(KubectlBuildError):
    """The build failed for a reason that lies in the build."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceExcerpt:
    """Lines of a Dockerfile that an error points at. `lines` is (number from 1, text, marked)."""

    filename: str
    lines: tuple[tuple[int, str, bool], ...]


class SolveError(BuildError):
    """A step or the frontend failed.

    `step` is the vertex's name when known, `log_tail` the last lines of its log (decoded, without line ends), `sources` the Dockerfile's
    lines, `platform_label` the platforms that the solve was for, `exit_status` the failed command's own exit code.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        step: str = "",
        log_tail: tuple[str, ...] = (),
        sources: tuple[SourceExcerpt, ...] = (),
        exit_status: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.log_tail = log_tail
        self.sources = sources
        self.exit_status = exit_status


class ContextChanged(BuildError):
    """A file of the build context changed between its stat and the end of its transfer."""


class UsageError(KubectlBuildError):
    """What the user asked for is malformed, is not there, or cannot be met."""

    exit_code = 2


class ConfigError(KubectlBuildError):
    """A configuration (kubeconfig, docker config, builder defaults, a named secret) is missing, malformed or not readable."""

    exit_code = 3


class ClusterError(KubectlBuildError):
    """The cluster does not let us, or cannot, do what the build needs."""

    exit_code = 4


class ApiError(ClusterError):
    """A status answer of the API server. `status` is the HTTP code, `reason` the Status object's reason (may be empty)."""

    def __init__(self, message: str, *, status: int, reason: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class NotFound(ApiError):
    """404."""


class Forbidden(ApiError):
    """403: authenticated, but not allowed.

    `verb` and `resource` (pods/exec, statefulsets.apps) are the right that is missing, `namespace` is where, None for all or none; they are
    empty when it is admission that refuses (Pod Security, a quota, a webhook).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        hint: str | None = None,
        verb: str = "",
        resource: str = "",
        namespace: str | None = None,
    ) -> None:
        super().__init__(message, status=status, reason=reason, hint=hint)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class Unauthorized(ApiError):
    """401."""


class AlreadyExists(ApiError):
    """409 with reason AlreadyExists."""


class Conflict(ApiError):
    """409 otherwise: another writer, or another field manager."""


class Invalid(ApiError):
    """422 or 400: the API server does not accept the object."""


class Gone(ApiError):
    """410: a watch's resourceVersion is too old."""


class ApiUnreachable(ClusterError):
    """The API server did not answer (connection refused, name not found, TLS, time)."""


class BuilderNotReady(ClusterError):
    """A builder that cannot be started. `reason` is Kubernetes' own word for it (ImagePullBackOff, Unschedulable, ...)."""

    def __init__(self, message: str, *, reason: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ConnectionLost(KubectlBuildError):
    """A connection to a builder, or the pod behind it, went away while it was needed.

    `silent` tells that nothing broke: there was no answer for too long, and nobody else will know more.
    """

    exit_code = 5
    transient = True
    silent = False


class DialError(ConnectionLost):
    """A connection to a builder could not be made: the exec failed or the daemon did not answer."""


class ExecError(DialError):
    """An exec could not begin: its pod, its container or the way there is gone. What the command was to reach had no part in it."""


class ProtocolError(ConnectionLost):
    """A peer sent what its protocol does not allow."""

    transient = False


class RegistryError(KubectlBuildError):
    """A registry refused a request or could not be reached.

    `status` is the HTTP code when there was one, `code` the registry's own error code (UNAUTHORIZED, DENIED, ...), `retry_after` seconds.
    Answers that are about the registry's own state make it transient, as `transient` does.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        retry_after: float | None = None,
        hint: str | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.transient = self.transient or transient or (status is not None and (status >= 500 or status in (408, 429)))
        self.status = status
        self.code = code
        self.retry_after = retry_after


class TimedOut(KubectlBuildError):
    """The whole command took longer than --timeout allows."""

    exit_code = 124


def system_words(error: OSError) -> str:
    """Why the system refused, for the end of a message: "no such file or directory"."""
    return (error.strerror or str(error) or "unknown error").lower()


def most_telling(error: BaseException) -> BaseException:
    """Pick the one error to tell of a group: anything before a mere loss of a connection, which is often its consequence.

    An error that is not ours wins over both, since it is a defect. What is not a group is returned as it is.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    flat = [most_telling(inner) for inner in error.exceptions]
    return min(flat, key=lambda inner: (isinstance(inner, KubectlBuildError), isinstance(inner, ConnectionLost)))


@contextmanager
def ungrouped() -> Iterator[None]:
    """Let the most telling error of a TaskGroup leave the body in place of its ExceptionGroup."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = most_telling(group)
        # Its own cause says more than the group that it was in: which right was missing, for one.
        raise error from error.__cause__ or group
