"""The Helm charts, and beside them what makes and checks them: nothing here is imported by the programs."""
