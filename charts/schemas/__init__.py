"""JSON schemas of everything that the chart renders, without a network: what kubeconform checks against.

`kubernetes.json` has the definitions of the kinds that the chart uses, from the OpenAPI v3 document of an API server of
the pinned version; a test compares them with a running one. `foreign/` has the CRDs of others that the chart can make
objects of, without their descriptions, from the versions that foreign/go.mod pins. Ours come from `crds/`.
`python -m charts.schemas` writes the first two again.
"""
