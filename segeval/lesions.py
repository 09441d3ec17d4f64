"""placeholder until branch overlap lands"""

from dataclasses import dataclass
from typing import Any


@dataclass
class LesionMatch:
    pass


def match_lesions(*a: Any, **k: Any) -> Any:
    raise RuntimeError


lesion_precision = lesion_recall = lesion_f1 = panoptic_quality = match_lesions
