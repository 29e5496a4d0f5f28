"""The gate in the agent's pod: evaluates, holds, releases, records. Has no Kubernetes rights and needs none."""
