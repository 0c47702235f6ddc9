"""aiohttp loaded without authorities: the process's own contexts keep theirs, and requests of ours have contexts of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_loading_http_reads_no_authorities_and_leaves_other_contexts_alone() -> None:
    script = textwrap.dedent("""
        import ssl
        before = len(ssl.create_default_context().get_ca_certs())
        from kubectl_build.cluster.lean import load_http
        load_http()
        from aiohttp.connector import _SSL_CONTEXT_VERIFIED as theirs
        after = len(ssl.create_default_context().get_ca_certs())
        print(before == after, len(theirs.get_ca_certs()), theirs.verify_mode == ssl.CERT_REQUIRED)
    """)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)

    assert run.stdout.split() == ["True", "0", "True"]
