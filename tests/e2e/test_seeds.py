"""The Dockerfiles that the project's users have already: printed in articles about multi-architecture images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.kubectl import Namespace, plan_lines, pod_object
from tests.e2e.machines import machine
from tests.e2e.registry import Registry

GO_SERVICE = """\
# Multi-stage build with cross-compilation (fast, no QEMU)
FROM --platform=$BUILDPLATFORM golang:1.22-alpine AS builder
ARG TARGETPLATFORM
ARG TARGETOS
ARG TARGETARCH

WORKDIR /app
COPY go.mod go.sum ./
RUN go mod download
COPY . .

# Cross-compile for target platform (no emulation needed)
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \\
    go build -ldflags="-s -w" -o /app/server ./cmd/server

# Runtime - automatically selects correct base for platform
FROM gcr.io/distroless/static:nonroot
COPY --from=builder /app/server /server
ENTRYPOINT ["/server"]
"""

INFO_SCRIPT = """\
# syntax=docker/dockerfile:1-labs
FROM alpine:3.15

COPY <<-"SCRIPT" /info.sh
\t#!/bin/sh
\techo "I am running under machine type (architecture):"
\tuname -m
SCRIPT
RUN chmod +x /info.sh

CMD ["/info.sh"]
"""
INFO_SH = b'#!/bin/sh\necho "I am running under machine type (architecture):"\nuname -m\n'


def test_seed_001_cross_compiles_to_one_index_of_two_manifests(
    namespace: Namespace, context: Callable[..., Path], registry: Registry
) -> None:
    directory = context(
        {
            "Dockerfile": GO_SERVICE,
            "go.mod": "module example.com/app\n\ngo 1.22\n",
            "go.sum": "",
            "cmd/server/main.go": 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("hello\\n") }\n',
        }
    )
    repository = namespace.repository("seed1")

    result = namespace.kubectl(
        *("build", directory, "-t", f"{namespace.cluster.registry}/{repository}:v2.1.0", "--platform", "linux/amd64,linux/arm64"),
        *("--registry-secret", "my-secret", "--push", "--progress=plain"),
        timeout=170,
    ).ok()

    images = registry.images(repository, "v2.1.0")
    assert list(images) == ["linux/amd64", "linux/arm64"]
    assert {name: machine(image.files["server"]).arch for name, image in images.items()} == {"linux/amd64": "amd64", "linux/arm64": "arm64"}
    assert {image.config["config"]["User"] for image in images.values()} == {"65532"}
    assert plan_lines(result.stderr) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("cross", "amd64")}
    assert namespace.stateful_sets() == {"buildkit-amd64"}


def test_seed_002_prints_each_platforms_machine(namespace: Namespace, context: Callable[..., Path], registry: Registry) -> None:
    repository = namespace.repository("seed2")
    run = "FROM base\nRUN /info.sh >/printed\n"
    directory = context({"Dockerfile": INFO_SCRIPT, "Dockerfile.run": INFO_SCRIPT.replace("alpine:3.15", "alpine:3.15 AS base") + run})
    flags = ("--platform=linux/amd64,linux/arm64", "--registry-secret=my-secret", "--push", "--progress=plain")
    base = f"{namespace.cluster.registry}/{repository}"

    namespace.kubectl("build", directory, "-t", f"{base}:latest", *flags, timeout=170).ok()
    namespace.kubectl("build", directory, "-f", directory / "Dockerfile.run", "-t", f"{base}:run", *flags, timeout=170).ok()

    images = registry.images(repository, "latest")
    assert {name: image.files["info.sh"] for name, image in images.items()} == {"linux/amd64": INFO_SH, "linux/arm64": INFO_SH}
    assert {image.modes["info.sh"] & 0o111 for image in images.values()} == {0o111}
    printed = {name: image.files["printed"].decode().splitlines()[-1] for name, image in registry.images(repository, "run").items()}
    assert printed == {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
    for arch, said in (("amd64", "x86_64"), ("arm64", "aarch64")):
        namespace.kubectl.apply(pod_object(f"info-{arch}", f"{base}:latest", arch=arch, secrets=["my-secret"]))
        assert namespace.pod_runs(f"info-{arch}") == f"I am running under machine type (architecture):\n{said}\n"
