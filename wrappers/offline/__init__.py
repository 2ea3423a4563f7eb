"""Offline data: collect it from any environment, keep it whole, and read it in batches.

``from bisimgym.wrappers.offline.replay import fill_replay`` needs Stable-Baselines3, and
``from bisimgym.wrappers.offline.torch_batches import to_torch`` needs torch; all else needs neither.
"""

from bisimgym.wrappers.offline.collection import collect, convert, environment_digest
from bisimgym.wrappers.offline.data import Batch, OfflineData
from bisimgym.wrappers.offline.episodes import Episodes
from bisimgym.wrappers.offline.manifest import DamagedDataError
from bisimgym.wrappers.offline.opening import load

__all__ = ["Batch", "DamagedDataError", "Episodes", "OfflineData", "collect", "convert", "environment_digest", "load"]
