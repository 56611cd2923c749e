"""A simulator of ONTAP's REST interface, as far as the NetApp driver uses it."""

from tests.ontap_simulator.dialects import DIALECTS, Dialect
from tests.ontap_simulator.faults import Fault, Kind
from tests.ontap_simulator.server import Seen, Simulator
from tests.ontap_simulator.world import Effect, World

__all__ = ["DIALECTS", "Dialect", "Effect", "Fault", "Kind", "Seen", "Simulator", "World"]
