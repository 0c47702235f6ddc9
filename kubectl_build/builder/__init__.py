"""BuildKit in the cluster: what a builder is, its objects, starting, changing and removing it. All its state is in the cluster."""
