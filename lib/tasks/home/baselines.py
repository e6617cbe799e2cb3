"""The systems that a student is compared with: the rule system and the classic pipeline.

>>> [system.name for system in (HassilBaseline(), TfidfBaseline())]
['hassil', 'tfidf']
"""

from lib.tasks.home.baselines_hassil import HassilBaseline
from lib.tasks.home.baselines_tfidf import TfidfBaseline

__all__ = ["HassilBaseline", "TfidfBaseline"]
