"""What of the cluster runs."""

from __future__ import annotations

from tests.cluster import layout, owner, processes
from tests.cluster.api import Api, Unreachable


def status() -> int:
    """Print owner, processes and nodes; returns 0 when all is well, else 1."""
    record = owner.read()
    if record is None:
        print("no cluster runs on this machine")
        return 1
    print(f"owner      {record.checkout}{'' if record.checkout == str(layout.CHECKOUT) else ' (another checkout)'}")
    print(f"logs       {record.logs}")
    print(f"state      {'complete' if record.complete else 'not complete: run `up`'}")
    well = record.complete
    for process in processes.records():
        alive = process.alive()
        well = well and alive
        print(f"process    {process.name:28} {f'pid {process.pid}' if alive else 'DEAD'}")
    if record.checkout != str(layout.CHECKOUT):
        return 0 if well else 1
    try:
        found = Api(layout.STATE.pki).get("/api/v1/nodes")["items"]
    except (Unreachable, OSError) as exc:
        print(f"nodes      {exc}")
        return 1
    for node in found:
        ready = next((item["status"] for item in node["status"].get("conditions", []) if item["type"] == "Ready"), "Unknown")
        well = well and ready == "True"
        print(f"node       {node['metadata']['name']:28} {node['metadata']['labels'].get('kubernetes.io/arch')}, Ready={ready}")
    return 0 if well and len(found) == len(layout.NODES) else 1
