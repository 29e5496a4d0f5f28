"""JSON schemas of everything that the chart renders, without a network: what kubeconform checks against.

`kubernetes.json` has the definitions of the kinds that the chart uses, from the OpenAPI v3 document of an API server of
the pinned version; a test compares them with a running one. `kubernetes-oldest.json` has those of the oldest version
that the chart takes, so that no template uses a field that came later. `foreign/` has the CRDs of others that the chart
can make objects of, without their descriptions; foreign/go.mod pins the versions of both. Ours come from `crds/`.
`python -m charts.schemas` writes all but ours again.
"""
