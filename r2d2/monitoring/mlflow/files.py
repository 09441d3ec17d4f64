"""The files of a run that MLflow gets: report, settings and network, none of which names a case."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import yaml

from dist_training.inference.model_card import read_model_card
from dist_training.record.run_folder import RunFolder
from r2d2.config import FILE_NAME
from r2d2.monitoring.mlflow.parameters import shown_settings
from r2d2.reports.build import build_run_report
from r2d2.tasks.reporting import TRAINING
from r2d2.zoo.publishing.privacy import anonymous_card

__all__ = ["files_of"]


def files_of(folder: RunFolder, made: Path) -> Iterator[tuple[str, str, Path]]:
    """Give the files of a run, each when it is asked for.

    The network's card is that of a published model: cases are numbers, and hashes of scans salted.

    Args:
        folder: of the run.
        made: folder for those that are made.

    Yields:
        Where it goes, from what it is made (another text: another file), and the file itself.
    """
    settings = made / FILE_NAME
    settings.write_text(yaml.safe_dump(shown_settings(folder), sort_keys=False, allow_unicode=True), encoding="utf-8")
    yield FILE_NAME, _stamp(folder.config), settings
    if folder.model.exists() and folder.card.exists():
        network, card = read_model_card(folder.path)
        public = anonymous_card(card, secrets.token_hex(16), dataset=card.dataset, model_sha256=card.model_sha256)
        shown = made / folder.card.name
        shown.write_text(public.model_dump_json(indent=1), encoding="utf-8")
        yield f"model/{network.name}", _stamp(network), network
        yield f"model/{shown.name}", _stamp(network), shown
    report = build_run_report(made / TRAINING, folder.path, is_for_others=True)
    yield TRAINING, _stamp(folder.events), report


def _stamp(file: Path) -> str:
    """Tell a file from what it may become."""
    known = file.stat()
    return f"{known.st_size} bytes of {known.st_mtime:.3f}"
