from .prediction.predictor import Predictor as Predictor
from .tasks.comparison import CompareSettings as CompareSettings
from .tasks.comparison import ModelComparison as ModelComparison
from .tasks.comparison import compare as compare
from .tasks.cross_validation import CrossValidationResult as CrossValidationResult
from .tasks.cross_validation import cross_validate as cross_validate
from .tasks.evaluation import EvaluateSettings as EvaluateSettings
from .tasks.evaluation import EvaluationResult as EvaluationResult
from .tasks.evaluation import evaluate as evaluate
from .tasks.inspection import InspectionResult as InspectionResult
from .tasks.inspection import InspectSettings as InspectSettings
from .tasks.inspection import inspect as inspect
from .tasks.prediction import Prediction as Prediction
from .tasks.prediction import PredictSettings as PredictSettings
from .tasks.prediction import predict as predict
from .tasks.prediction import segment as segment
from .tasks.prediction import segment_volume as segment_volume
from .tasks.preparation import PreparationResult as PreparationResult
from .tasks.preparation import PrepareSettings as PrepareSettings
from .tasks.preparation import prepare as prepare
from .tasks.reporting import ReportSettings as ReportSettings
from .tasks.reporting import report as report
from .tasks.training import TrainingResult as TrainingResult
from .tasks.training import TrainSettings as TrainSettings
from .tasks.training import train as train

__version__: str
