"""What `hitl.stores.protocol` promises, as tests that every store must pass.

A store's own test module derives a class from `StoreContract` and gives it a `world`: something that opens stores on
the same requests, as two processes would, and the clock that stamps them.
"""

from stores.contract.keeping import Keeping
from stores.contract.outcomes import Outcomes
from stores.contract.races import Races
from stores.contract.reviewing import Reviewing
from stores.contract.watching import Watching
from stores.contract.world import Store, World

__all__ = ["Store", "StoreContract", "World"]


class StoreContract(Keeping, Outcomes, Reviewing, Watching, Races):
    """Derive from it and provide the fixture `world`."""
