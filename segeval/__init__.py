"""SegEval: segmentation metrics with stated conventions, on arrays with a spacing in mm or on files.

Example:
    >>> import numpy as np
    >>> from segeval import evaluate
    >>> reference, prediction = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    >>> reference[1:3, 1:3, 1:3], prediction[1:3, 1:3, 1:4] = 1, 1
    >>> case = evaluate(reference, prediction, {"lesion": 1}, spacing_mm=(1.0, 1.0, 3.0))
    >>> round(case.scores[0]["dice"], 3), case.scores[0]["hd95_mm"]
    (0.8, 3.0)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
