"""Registry logins: from Kubernetes secrets, from docker's config and its helpers. Nothing here is ever logged."""
