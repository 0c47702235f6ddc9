"""What steps see: mounts, secrets, agents, the network, and limits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.parity.case import Case, Site
from tests.parity.corpus import files

_BIND = """\
FROM busybox AS other
RUN echo other >/other
FROM busybox
RUN --mount=type=bind,target=/ctx ls -lnR /ctx | awk '{print $1, $3, $4, $9}' >/seen
RUN --mount=type=bind,from=other,source=/other,target=/mnt/other --mount=type=bind,source=dir,target=/dir,rw \\
    cat /mnt/other >/copied && touch /dir/not-kept && ls /dir >>/copied
RUN --mount=type=bind,from=busybox,source=/bin,target=/far ls /far | wc -l >/count
"""
_CACHE = """\
FROM busybox
RUN --mount=type=cache,target=/cache,id=parity-cache,uid=5,gid=6,mode=0750,sharing=locked \\
    echo x >>/cache/x && stat -c '%u %g %a' /cache >/facts
RUN --mount=type=cache,target=/cache,from=busybox,source=/bin,id=parity-seeded ls /cache | wc -l >/seeded
RUN --mount=type=tmpfs,target=/fast,size=4m df -k /fast | tail -1 | awk '{print $2}' >/tmpfs
"""
_SECRETS = """\
FROM busybox
RUN --mount=type=secret,id=from-file wc -c </run/secrets/from-file >/size
RUN --mount=type=secret,id=from-env,target=/etc/secret,mode=0444,uid=7 stat -c '%u %a' /etc/secret >/facts && wc -c </etc/secret >>/facts
RUN --mount=type=secret,id=NAMED_LIKE_ENV,env=TOKEN test "$TOKEN" = named && echo yes >/token
RUN --mount=type=secret,id=none test ! -e /run/secrets/none && echo none >/none
RUN --mount=type=secret,id=with-source,required=true wc -c </run/secrets/with-source >/source
"""
_SSH = """\
FROM scratch
COPY --chmod=755 ask /ask
RUN --mount=type=ssh ["/ask", "/default"]
RUN --mount=type=ssh,id=key,target=/tmp/agent,mode=0666 ["/ask", "/key"]
"""
_ASK = """\
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

// Writes the answer of the ssh agent to the question which keys it has, but for the keys themselves: how many, and their comments.
func main() {
	agent, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		panic(err)
	}
	agent.Write([]byte{0, 0, 0, 1, 11})
	head := make([]byte, 9)
	if _, err := io.ReadFull(agent, head); err != nil {
		panic(err)
	}
	os.WriteFile(os.Args[1], []byte(fmt.Sprintln(os.Getenv("SSH_AUTH_SOCK") != "", head[4], head[8])), 0o644)
}
"""
_NETWORK = """\
FROM busybox
RUN ip link | grep -c '^[0-9]' >/links
RUN --network=none ip link | grep -c '^[0-9]' >/none
RUN --network=host true
"""
_LIMITS = """\
FROM busybox
RUN ulimit -n >/files && ulimit -Hn >>/files && ulimit -u >>/files
RUN df -k /dev/shm | tail -1 | awk '{print $2}' >/shm
RUN grep -E 'one|two|six' /etc/hosts | sort >/hosts
RUN cut -d: -f2 /proc/self/cgroup | sort | head -1 >/dev/null
"""


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "key of a file", "-f", path], check=True, timeout=10)


def _ssh(site: Site) -> None:
    _key(site.work / "key")
    _key(site.work / "second")
    source = site.work / "ask.go"
    source.write_text(_ASK)
    variables = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GO111MODULE": "off"}
    command = ["go", "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", str(site.context / "ask"), str(source)]
    subprocess.run(command, env=variables, check=True, capture_output=True, timeout=60)


def _secret(site: Site) -> None:
    files.write_fixed(site.work / "secret", b"file's secret\n")
    files.write_fixed(site.work / "with, comma", b"\x00\xff binary")


CASES: tuple[Case, ...] = (
    Case(
        name="mount-bind",
        shows="RUN --mount=type=bind: context, stage, image, written to",
        dockerfile=_BIND,
        files={"dir/a": "a", "b": "b"},
    ),
    Case(name="mount-cache", shows="RUN --mount=type=cache, seeded from an image; tmpfs", dockerfile=_CACHE),
    Case(
        name="mount-secret",
        shows="--secret: file, environment, by the name alone, with a comma; absent ones",
        dockerfile=_SECRETS,
        prepare=_secret,
        args=(
            *("--secret", "id=from-file,src={work}/secret", "--secret=id=from-env,env=A_SECRET", "--secret", "id=NAMED_LIKE_ENV"),
            *("--secret", '"id=with-source","type=file","source={work}/with, comma"'),
        ),
        env={"A_SECRET": "from the environment", "NAMED_LIKE_ENV": "named"},
    ),
    Case(
        name="mount-ssh",
        shows="--ssh: the agent of SSH_AUTH_SOCK, two key files",
        dockerfile=_SSH,
        prepare=_ssh,
        args=("--ssh", "default", "--ssh=key={work}/key,{work}/second"),
        env={"SSH_AUTH_SOCK": "{agent}"},
    ),
    Case(
        name="mount-ssh-socket",
        shows="--ssh: an agent's socket by name",
        dockerfile=_SSH.replace(",id=key", ""),
        prepare=_ssh,
        args=("--ssh", "default={agent}"),
    ),
    Case(
        name="network-host",
        shows="--allow network.host, RUN --network=none and host, --network none",
        dockerfile=_NETWORK,
        args=("--allow", "network.host", "--network", "default"),
    ),
    Case(
        name="network-none",
        shows="--network none for every step",
        dockerfile="FROM busybox\nRUN ip link | grep -c '^[0-9]' >/links\n",
        args=("--network=none",),
    ),
    Case(
        name="security-insecure",
        shows="--allow security.insecure, RUN --security=insecure",
        dockerfile="FROM busybox\nRUN --security=insecure grep -c CapEff /proc/self/status >/caps\n",
        args=("--allow=security.insecure",),
    ),
    Case(
        name="limits",
        shows="--add-host, --ulimit, --shm-size",
        dockerfile=_LIMITS,
        args=(
            *("--add-host", "one:10.0.0.1", "--add-host=two=10.0.0.2,six:[fd00::1]", "--ulimit", "nofile=512:1024", "--ulimit=nproc=77"),
            *("--shm-size", "32m"),
        ),
    ),
    Case(
        name="resource",
        shows="--resource memory, cpu-quota, cpu-shares; --cgroup-parent",
        dockerfile="FROM busybox\nRUN echo limited >/limited\n",
        args=("--resource", "memory=256m", "--resource", "cpu-quota=50000", "--resource=cpu-period=100000", "--cgroup-parent", "parity"),
    ),
)
