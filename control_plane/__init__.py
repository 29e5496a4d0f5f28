"""A real Kubernetes control plane on this machine, for tests, benchmarks and the demonstration.

`provide` gets the programs (etcd, kube-apiserver, kubectl, kube-controller-manager) in the versions that go.mod pins;
`running` starts them on loopback with certificates of their own and ends them with the process that asked. Nothing
here is part of the product, and no node stands behind it: pods are stored, never run.
"""
