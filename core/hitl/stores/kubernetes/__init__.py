"""Approval requests as resources of an API server: the hub and every reviewer write there as themselves.

`objects` reads and writes single objects, `refusals` says what the server's no means, `changes` follows what others
write, `reviewing` adds a person's entry, `store` puts them together. Who may write what is for the API server's own
admission policies to enforce (SECURITY C1–C3); the checks here only find the better words.
"""

from hitl.stores.kubernetes.store import KubernetesStore

__all__ = ["KubernetesStore"]
