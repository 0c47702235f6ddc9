"""Registries: the merge of image indexes, and a client for manifests. Blobs are BuildKit's business."""
