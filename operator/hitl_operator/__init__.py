"""The control plane: hands out config, keeps approval requests, lets each be consumed once."""
