from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with an empty .kube."""
    (tmp_path / ".kube").mkdir()
    return tmp_path
