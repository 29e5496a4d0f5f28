"""What becomes of a pod of a gated namespace: a pod goes in, the gated pod or words of refusal come out (DESIGN 11).

Pure: no I/O, no clock, no cluster. HTTPS, certificates and the knowledge of namespaces stay outside, in `cluster`.
"""
