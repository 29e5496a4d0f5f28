"""`hitl demo`: the whole product on one machine, with an agent that works on real things.

`world` is what the agent works on, `agent` the process that asks and runs, `stage` starts and ends the processes,
`story` is what happens, scene by scene.
"""
