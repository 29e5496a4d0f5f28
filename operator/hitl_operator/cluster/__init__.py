"""The hub on Kubernetes: who calls by token, policies and requests from the API server, several replicas side by side.

Here is what a cluster needs beside the hub itself: caches of pods and namespaces, the review of tokens, TLS, the Lease,
the root key, and the process that puts all of it together. What is the same on one machine lies one level up.
"""
