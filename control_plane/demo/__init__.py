"""The product on a cluster, to watch: a real API server, two operator replicas, two agent pods, two reviewers.

`objects` is what is applied, `cluster` the API server with people and pods, `replicas` the operator, `pods` an agent
with its sidecar, `races` what happens, `tally` what came of it. No node runs the containers: each pod's sidecar and
agent are processes here, and the token that the pod's kubelet would mount is asked for as that kubelet.
"""
