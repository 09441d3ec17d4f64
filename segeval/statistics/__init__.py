"""What many cases say together: means with intervals, comparisons, rankings."""

from segeval.statistics.means import MeanScore, mean_over_cases, mean_over_labels

__all__ = ["MeanScore", "mean_over_cases", "mean_over_labels"]
