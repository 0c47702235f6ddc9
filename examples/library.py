"""Build a directory on any BuildKit daemon, without kubectl and without docker, and write the result's files:

    python examples/library.py unix:///run/buildkit/buildkitd.sock ./app ./out

The address may as well be tcp://HOST:PORT?cacert=ca.pem&cert=cert.pem&key=key.pem or kube-pod://POD?namespace=NAMESPACE.
"""

import asyncio
import sys

from kubectl_build.buildkit import BuildEvent, Output, OutputType, StatusUpdate, open_daemon
from kubectl_build.errors import KubectlBuildError


def show(event: BuildEvent) -> None:
    """Print each step when it is done."""
    if isinstance(event, StatusUpdate):
        for step in event.vertexes:
            if step.completed:
                print("cached" if step.cached else "failed" if step.error else "done", step.name)


async def main(address: str, context: str, dest: str) -> None:
    """Build `context` on the daemon at `address`, into the directory `dest`."""
    async with open_daemon(address) as daemon:
        print(f"{address} is BuildKit {daemon.info.version}")
        await daemon.build(context, outputs=[Output(type=OutputType.LOCAL, dest=dest)], emit=show)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KubectlBuildError as error:
        sys.exit(f"error: {error.message}")
