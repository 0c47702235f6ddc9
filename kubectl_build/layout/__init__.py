"""OCI layout directories and archives: blobs, index.json, local caches, and archives made of several."""
