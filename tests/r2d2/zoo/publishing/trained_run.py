"""A run folder as a training leaves it, of a tiny network on a study whose files are called like people."""

from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from dist_training.architectures import UNetSettings, build_network
from dist_training.inference.model_card import save_model
from dist_training.record.events import EpochEnded, EventLog, Starting
from dist_training.record.run_folder import RunEnd, RunFolder
from dist_training.record.samples import SampleDescription, SampleFolder, SampleSlice, SampleSlices
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.prediction.settings import InferenceSettings
from r2d2.tasks.evaluation import EvaluateSettings, evaluate
from r2d2.tasks.prediction import PredictSettings, predict

__all__ = ["PEOPLE", "WORDS", "evaluate_split", "prepare_study", "write_run", "write_words"]

PEOPLE = ("Doe_Jane", "Roe_Richard", "Poe_Edgar", "Müller_Anna", "Fawkes_Guy", "Bloggs_Joe")
WORDS = {
    "title": "Two structures in noise",
    "intended_use": "Tests of publishing.",
    "not_for": "Anything else, <b>ever</b>.",
    "known_failures": "Every scan.",
    "author": "The testers",
    "licence": "mit and cc-by-sa-4.0",
    "attribution": "Noise by NumPy.",
    "data": {"name": "Noise", "licence": "CC0-1.0", "source": "numpy.random"},
}
NETWORK = UNetSettings(depth=1, base_filters=16)


def prepare_study(folder: Path) -> PreparedDataset:
    """Six cases, each in a folder of its patient's, of 14 x 16 pixels in 4 slices 3 mm apart."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    for seed, name in enumerate(PEOPLE):
        image = np.random.default_rng(seed).gamma(2.0, 50.0, (14, 16, 4)).astype(np.float32)
        for kind, array in (("images", image), ("labels", np.digitize(image, [90.0, 150.0]).astype(np.uint8))):
            (folder / "study" / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), folder / f"study/{kind}/{name}.nii.gz")
    settings = PreparationSettings(validation_fraction=0.17, test_fraction=0.34, folds=2)
    return prepare_dataset(folder / "study", folder / "prepared", settings)


def write_run(dataset: PreparedDataset, path: Path, seed: int = 2) -> RunFolder:
    """A network of random weights whose classes all win somewhere, and the record of its training."""
    run = RunFolder(path)
    model = build_network(NETWORK, 1, 3, seed=seed)
    logits = model.predict_on_batch(np.random.default_rng(0).normal(size=(4, 16, 16, 1)).astype(np.float32))
    *others, bias = model.get_weights()
    model.set_weights([*others, bias - logits.mean(axis=(0, 1, 2))])
    run.create()
    run.config.write_text(yaml.safe_dump({"dataset": str(dataset.folder)}), encoding="utf-8")
    log = EventLog(run.events)
    log.record(Starting(world_size=3))
    for epoch in (1, 2):
        log.record(EpochEnded(epoch=epoch, step=epoch, loss=1.0, seconds=50, validation_seconds=10))
    log.close()
    shown = tuple(SampleSlice(case_id=one, number=0, of=4, pixel_mm=(1.0, 1.0)) for one in dataset.splits.validation)
    described = SampleDescription(labels=dataset.labels, channels=dataset.channels, slices=shown)
    pixels = [np.zeros((14, 16, 1), np.uint8)] * len(shown)
    samples = SampleFolder(run.samples)
    samples.begin(SampleSlices(described, tuple(pixels), tuple(one[..., 0] for one in pixels)), 0)
    samples.write_epoch(2, [one[..., 0] for one in pixels], best=2)
    save_model(
        model,
        run,
        network=NETWORK,
        dataset=dataset,
        epoch=2,
        validation_dice=0.5,
        validation_dice_per_label={},
    )
    run.write_exit(RunEnd(state="completed"))
    return run


def evaluate_split(
    model: Path | tuple[Path, ...], dataset: PreparedDataset, split: str, out: Path, **inference: object
) -> Path:
    """Predict the cases of a split and evaluate them; gives the folder of the evaluation."""
    applied = InferenceSettings.model_validate(inference)
    predict(
        PredictSettings(model=model, dataset=dataset.folder, split=split, out=out / "predictions", inference=applied)
    )
    evaluate(
        EvaluateSettings(
            dataset=dataset.folder, split=split, prediction=out / "predictions", out=out / "evaluation", report=False
        )
    )
    return out / "evaluation"


def write_words(folder: Path, **changes: object) -> Path:
    """What the author says, as YAML."""
    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump({**WORDS, **changes}, allow_unicode=True), encoding="utf-8")
    return path
