"""A cluster as a place: who the API server says the caller is, what it lets them do, and what to do where it does not.

Everything here asks with the caller's own kubeconfig and decides nothing: the API server refuses, this says why.
Nothing that a list does not need is imported before it is needed: a list has 300 ms.
"""
