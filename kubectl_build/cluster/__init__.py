"""The Kubernetes API: who we are to it (config), verbs on plain dicts (client) and exec over WebSocket (exec)."""
