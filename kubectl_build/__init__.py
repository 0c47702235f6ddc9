"""kubectl-build: container images built by BuildKit pods in the user's own Kubernetes cluster."""

__version__ = "0.1.0"
