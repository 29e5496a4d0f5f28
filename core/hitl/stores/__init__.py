"""Where approval requests live: one protocol with an operator side and a reviewer side, one contract suite for all."""
