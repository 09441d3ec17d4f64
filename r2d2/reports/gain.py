"""What a start from a trained network gained: epochs to the same validation Dice as a start from nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_training.errors import ModelError
from dist_training.inference.model_card import ModelCard, read_model_card
from dist_training.record.run_folder import RunFolder
from r2d2.config import Configuration, configure, read_layer
from r2d2.config_differences import differences
from r2d2.reports.build import write_page
from r2d2.reports.curves import EpochFigures, draw_together, read_epochs
from r2d2.reports.formatting import plural
from r2d2.reports.page import figures, page, paragraph, section, table, warning_box
from r2d2_base.errors import ConfigurationError

__all__ = ["Gain", "Level", "build_gain_report", "measure_gain"]

STEPS = (0.01, 0.02, 0.05, 0.1)
MOST_LEVELS = 12
NOT_COMPARED = ("dataset", "run_dir", "workers", "hosts", "preparation", "transfer.start_from", "transfer.start_name")
"""Where and by whom it was done, the start itself, and how the dataset came to be, which the card tells."""


@dataclass(frozen=True)
class Level:
    """When two runs first had a validation Dice.

    Attributes:
        dice: the level.
        epoch: 1-based epoch in which the run from a trained network reached it; None: never.
        epoch_against: the same of the run from nothing.
    """

    dice: float
    epoch: int | None
    epoch_against: int | None

    @property
    def saved(self) -> int | None:
        """Epochs that the start spared; None where one of them never came there."""
        return None if self.epoch is None or self.epoch_against is None else self.epoch_against - self.epoch

    @property
    def ratio(self) -> float | None:
        """Epochs from a trained network for each epoch from nothing."""
        return None if self.epoch is None or self.epoch_against is None else self.epoch / self.epoch_against


@dataclass(frozen=True)
class Gain:
    """Two runs on the same cases, one from a trained network and one from nothing.

    Attributes:
        start: what the first started from: a name of the zoo, or a path.
        epochs, epochs_against: of each run, with a validation Dice.
        levels: from the lowest on; the last is the best Dice of the run from nothing.
        differences: settings in which they differ besides, a sentence each.
    """

    start: str | Path
    epochs: tuple[EpochFigures, ...]
    epochs_against: tuple[EpochFigures, ...]
    levels: tuple[Level, ...]
    differences: tuple[str, ...]


def measure_gain(run: Path, against: Path) -> Gain:
    """Compare a run that started from a trained network with one that started from nothing.

    Args:
        run: run folder of the first.
        against: run folder of the second.

    Raises:
        ModelError, ConfigurationError: a folder holds no run with a network, they were trained or validated on other
            cases, or started otherwise.
    """
    ours, theirs = (configure(read_layer(RunFolder(folder).config)) for folder in (run, against))
    start = ours.transfer.start_from
    if start is None or theirs.transfer.start_from is not None:
        raise ConfigurationError(
            f"--run-dir must be a run with transfer.start_from, and --against one without; {run} started from "
            f"{start or 'nothing'}, {against} from {theirs.transfer.start_from or 'nothing'}"
        )
    _check_same_cases(run, against)
    epochs, others = (_validated(folder) for folder in (run, against))
    return Gain(ours.transfer.start_name or start, epochs, others, _levels(epochs, others), _differences(ours, theirs))


def _check_same_cases(run: Path, against: Path) -> None:
    cards = {folder: read_model_card(folder)[1] for folder in (run, against)}
    facts = {folder: _facts(card) for folder, card in cards.items()}
    differing = [name for name, value in facts[run].items() if value != facts[against][name]]
    if differing:
        raise ModelError(
            f"{run} and {against} cannot be compared: they differ in their {', '.join(differing)}; train both on the "
            "same prepared dataset, and the same fold"
        )


def _facts(card: ModelCard) -> dict[str, Any]:
    """What must be the same for two validation Dice to mean the same."""
    cases: dict[str, Any] = {
        f"{split} cases": {case.image_sha256 for case in card.cases if case.split == split}
        for split in ("train", "validation")
    }
    return {**cases, "labels": card.labels, "regions": card.regions, "preparation of scans": card.scan_preparation}


def _validated(folder: Path) -> tuple[EpochFigures, ...]:
    epochs = tuple(one for one in read_epochs(RunFolder(folder).events) if not math.isnan(one.validation_dice))
    if not epochs:
        raise ModelError(f"{folder} has no epoch with a validation Dice yet; let it train, or 'r2d2 train --resume' it")
    return epochs


def _levels(epochs: Sequence[EpochFigures], others: Sequence[EpochFigures]) -> tuple[Level, ...]:
    """Give round levels between the lowest Dice and the highest, and at last the best of the run from nothing."""
    values = [one.validation_dice for one in (*epochs, *others)]
    best = max(one.validation_dice for one in others)
    step = next((step for step in STEPS if (max(values) - min(values)) / step <= MOST_LEVELS), STEPS[-1])
    first, last = math.ceil(min(values) / step), math.floor(max(values) / step)
    rounded = [number * step for number in range(max(first, 1), last + 1)]
    return tuple(Level(dice, _first(epochs, dice), _first(others, dice)) for dice in (*rounded, best))


def _first(epochs: Sequence[EpochFigures], dice: float) -> int | None:
    return next((one.epoch for one in epochs if one.validation_dice >= dice - 1e-9), None)


def _differences(ours: Configuration, theirs: Configuration) -> tuple[str, ...]:
    return tuple(
        f"{one.key} is {one.values[0]} in the one and {one.values[1]} in the other"
        for one in differences([ours, theirs], besides=NOT_COMPARED)
    )


def build_gain_report(out: Path, run: Path, against: Path) -> Path:
    """Write a page with the curves of two runs, and the epochs that each took to the same validation Dice.

    Args:
        out: the HTML file.
        run: run folder of a training from a trained network.
        against: run folder of the same training from nothing.

    Returns:
        ``out``.

    Raises:
        as ``measure_gain``.
    """
    gain = measure_gain(run, against)
    picture = draw_together({"from a trained network": gain.epochs, "from nothing": gain.epochs_against})
    rows = [
        (f"{level.dice:.3f}", _or(level.epoch), _or(level.epoch_against), _or(level.saved), _ratio(level.ratio))
        for level in gain.levels
    ]
    headers = ("Validation Dice", "Epoch, from the network", "Epoch, from nothing", "Epochs spared", "Ratio")
    differ = [f"Besides the start, the two runs differ: {words}." for words in gain.differences]
    text = page(
        "What the start gained",
        f"{run} started from {gain.start}; {against} from nothing",
        [
            warning_box(differ),
            section("In short", *(paragraph(sentence) for sentence in _in_short(gain))),
            section("Validation Dice over the epochs", figures([picture], "wide")),
            section(
                "Epochs to the same Dice",
                paragraph(
                    "The first epoch in which each run had at least this mean Dice of the foreground on the validation "
                    "slices; the last line is the best of the run from nothing. One run of each kind: another seed "
                    "would give other epochs.",
                    kind="note",
                ),
                table(headers, rows, caption="First epoch at which each level was reached"),
            ),
        ],
    )
    write_page(out, text)
    return out


def _in_short(gain: Gain) -> Iterator[str]:
    level = gain.levels[-1]
    reached = f"The run from nothing reached its best validation Dice, {level.dice:.3f}, in epoch {level.epoch_against}"
    if level.epoch is None or level.saved is None or level.ratio is None:
        yield f"{reached}; the run from a trained network did not come there in {_count(gain.epochs)}."
    else:
        word = "earlier" if level.saved > 0 else "later"
        when = "as late" if level.saved == 0 else f"{plural(abs(level.saved), 'epoch')} {word}"
        yield f"{reached}; the other did in epoch {level.epoch}: {when}, a ratio of {level.ratio:.2f}."
    for name, epochs in (("a trained network", gain.epochs), ("nothing", gain.epochs_against)):
        best = max(epochs, key=lambda one: one.validation_dice)
        yield (
            f"From {name}: {epochs[0].validation_dice:.3f} after epoch {epochs[0].epoch}, best "
            f"{best.validation_dice:.3f} in epoch {best.epoch}, {epochs[-1].validation_dice:.3f} at the end, after "
            f"{_count(epochs)}."
        )


def _count(epochs: Sequence[EpochFigures]) -> str:
    return plural(epochs[-1].epoch, "epoch")


def _or(number: int | None) -> str:
    return "–" if number is None else str(number)


def _ratio(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"
