"""The curves of a run, however long it is: kept as a pyramid, from which a page gets as many points as it can show."""

from r2d2.curves.course import Course
from r2d2.curves.run_curves import CurveView, RunCurves

__all__ = ["Course", "CurveView", "RunCurves"]
