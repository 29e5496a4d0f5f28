"""Images of sidecar and operator: by a Docker engine from their Dockerfiles, or without one from Debian's packages."""
