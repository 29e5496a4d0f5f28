"""A real node on this machine: kubelet, container runtime, proxy and DNS beside the programs of `control_plane`."""
