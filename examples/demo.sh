#!/bin/sh
# The main job on a real cluster: Dockerfile.cross for six platforms, pushed with a registry secret, and the index printed.
#
# Uses the cluster of the current context when it answers and KB_REGISTRY names a registry; otherwise the local cluster, which it starts.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

if [ -z "${KB_REGISTRY:-}" ] || ! kubectl version --request-timeout=5s >/dev/null 2>&1; then
    echo "using the local cluster (set KB_REGISTRY, KB_REGISTRY_USER and KB_REGISTRY_PASSWORD to use the current context)" >&2
    make --no-print-directory cluster >&2
    . .cluster/env
fi

namespace=kubectl-build-demo
kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply -f - >&2
kubectl -n "$namespace" create secret docker-registry my-secret --docker-server="$KB_REGISTRY" \
    --docker-username="$KB_REGISTRY_USER" --docker-password="$KB_REGISTRY_PASSWORD" --dry-run=client -o yaml | kubectl apply -f - >&2

set -x
kubectl build ./ -n "$namespace" -t "$KB_REGISTRY/demo/hello:latest" -f Dockerfile.cross --registry-secret my-secret \
    --platform=linux/386,linux/amd64,linux/arm/v6,linux/arm/v7,linux/arm64,windows/amd64 --push
set +x

echo "the index of $KB_REGISTRY/demo/hello:latest:"
.venv/bin/python examples/show_index.py "$KB_REGISTRY" demo/hello latest
echo "remove it all with: kubectl delete namespace $namespace"
