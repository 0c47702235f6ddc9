"""A real buildkitd takes the configuration that is rendered for a builder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kubectl_build.builder.buildkitd_config import render_buildkitd_config
from kubectl_build.builder.daemon_flags import split_daemon_flags
from kubectl_build.builder.spec import BuilderSpec, RegistrySettings
from kubectl_build.builder.volume import parse_cache
from tests.cluster import tools
from tests.integration.buildkitd import running_buildkitd


@pytest.mark.timeout(120)
def test_buildkitd_collects_by_the_size_of_the_volume_and_takes_entitlements_and_flags(tmp_path: Path) -> None:
    _, flags = split_daemon_flags("--oci-max-parallelism=3 --debug")
    spec = BuilderSpec(
        cache=parse_cache("pvc,size=20Gi"),
        allow=("network.host", "security.insecure", "device"),
        registries={"docker.io": RegistrySettings(mirrors=("127.0.0.1:1/hub",)), "127.0.0.1:1": RegistrySettings(http=True)},
        buildkitd_flags=flags,
    )
    (tmp_path / "d").mkdir()
    config = tmp_path / "buildkitd.toml"
    config.write_text(render_buildkitd_config(spec))

    with running_buildkitd(tmp_path / "d", ["--config", str(config), *spec.buildkitd_flags]) as socket:
        command = [str(tools.ensure(["buildctl"])["buildctl"]), "--addr", f"unix://{socket}", "debug", "workers", "-v"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    assert said.count("Reserved space:\t\t2.147483648GB") == said.count("Maximum used space:\t16.10612736GB") == 3, said
