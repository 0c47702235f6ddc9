"""A real mixed-architecture Kubernetes cluster on one Linux machine: `python3 -m tests.cluster up|down|status|env`.

Standard library only, so that it runs with the system's Python before anything is installed.
"""
