"""Programs of others that this checkout needs, in exactly the versions that a go.mod here pins.

`provide` finds one where the environment names it, in the cache, or by the ways that its kind has, the last of which
is a build from Go modules, each verified by go.sum. Which programs there are is said by who needs them: control_plane
and charts.tools. Nothing here is part of the product.
"""
