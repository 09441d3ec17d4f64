"""What many cases say together: means with intervals, comparisons, rankings."""

from segeval.statistics.comparison import Comparison, PairedDifference, compare, compare_with_base, holm
from segeval.statistics.means import MeanScore, bootstrap_weights, interval_of, mean_over_cases, mean_over_labels
from segeval.statistics.ranking import SCHEMES, RankedModel, Ranking, rank
from segeval.statistics.score_table import ScoreTable, score_table
from segeval.statistics.signed_rank import SignedRank, signed_rank

__all__ = [
    "SCHEMES",
    "Comparison",
    "MeanScore",
    "PairedDifference",
    "RankedModel",
    "Ranking",
    "ScoreTable",
    "SignedRank",
    "bootstrap_weights",
    "compare",
    "compare_with_base",
    "holm",
    "interval_of",
    "mean_over_cases",
    "mean_over_labels",
    "rank",
    "score_table",
    "signed_rank",
]
