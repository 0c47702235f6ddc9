"""The real daemon whose manners the recording one has."""

from tests.integration.conftest import buildkitd

__all__ = ["buildkitd"]
