"""Registries: clients for manifests and blobs, the merge of image indexes, images inspected, joined and copied."""
