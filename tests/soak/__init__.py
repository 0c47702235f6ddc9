"""The soak: many small builds by several workers over two pools, whose pods are killed at random."""
