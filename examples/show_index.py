"""Print the platforms and digests of an image index, read from the registry's own API: python show_index.py HOST REPOSITORY TAG.

The login comes from KB_REGISTRY_USER and KB_REGISTRY_PASSWORD, the registry's CA from KB_REGISTRY_CA (else the system's).
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import urllib.request

_INDEX_TYPES = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


def main(host: str, repository: str, tag: str) -> None:
    """Fetch the index and print one line for each image in it."""
    request = urllib.request.Request(f"https://{host}/v2/{repository}/manifests/{tag}", headers={"Accept": _INDEX_TYPES})
    login = f"{os.environ['KB_REGISTRY_USER']}:{os.environ['KB_REGISTRY_PASSWORD']}"
    request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    context = ssl.create_default_context(cafile=os.environ.get("KB_REGISTRY_CA"))
    with urllib.request.urlopen(request, context=context, timeout=20) as response:
        index = json.load(response)
        print(f"{response.headers['Content-Type']}  {response.headers['Docker-Content-Digest']}")
    for manifest in index["manifests"]:
        platform = manifest["platform"]
        name = "/".join(filter(None, (platform["os"], platform["architecture"], platform.get("variant"))))
        print(f"  {name:15} {manifest['digest']}  {manifest['size']} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
