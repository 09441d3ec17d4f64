"""Publishing: a trained network and its card as a folder that another person can trust."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from dist_training.architectures.network_config import OUR_CLASSES
from dist_training.architectures.network_file import network_file_fault
from dist_training.inference.model_card import ModelCard, Split, read_model_card
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.errors import NamesFoundError, ZooError
from r2d2.prediction.ensemble import check_ensemble
from r2d2.zoo.card.description import CARD, DataOfModel, FurtherNetwork, ModelDescription
from r2d2.zoo.card.page import card_html, card_markdown
from r2d2.zoo.publishing.author_words import AuthorWords, read_author_words
from r2d2.zoo.publishing.evaluated import EvaluatedModel, JudgedNetwork, evaluation_faults, read_evaluated, scores_of
from r2d2.zoo.publishing.named import NamedText, names_in_texts
from r2d2.zoo.publishing.pictures import pictures_section
from r2d2.zoo.publishing.privacy import anonymous_card
from r2d2.zoo.publishing.provenance import dataset_of, parent_of, source_names, training_of
from r2d2.zoo.publishing.stored_weights import stored_network
from r2d2.zoo.registries.index import FILES, FileFacts, FileList
from r2d2.zoo.registries.published import MEMBERS
from r2d2_base.errors import R2D2Error
from r2d2_base.files import sha256_of, write_bytes, write_json
from r2d2_base.folders import check_absent, staged_folder

__all__ = ["PublishSettings", "PublishedModel", "publish_model"]

T = TypeVar("T")
LICENCE, MARKDOWN, PAGE = "LICENSE", "card.md", "card.html"


class PublishSettings(BaseModel):
    """What is published with a network, and how.

    >>> PublishSettings(description="card.yaml").half
    False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Path | AuthorWords = Field(
        description="YAML file with what only the author knows; 'r2d2 zoo describe' writes it."
    )
    evaluation: Path | None = Field(
        default=None, description="Folder of an evaluation of this network; without one its card has no scores."
    )
    prediction: Path | None = Field(
        default=None, description="Folder of the evaluated label maps, where they have been moved since."
    )
    with_pictures: bool = Field(default=False, description="Draw the worst cases, pictures of patients, in card.html.")
    half: bool = Field(default=False, description="Store the weights in half precision, in half the room.")
    together_with: tuple[Path, ...] = Field(
        default=(), description="Run folder of a further network that is asked together with it; one or several."
    )
    unfinished: bool = Field(default=False, description="Publish the best network so far of a run that has not ended.")
    name: str | None = Field(default=None, description="What its card calls it, such as hippocampus-unet:1.")


@dataclass(frozen=True)
class PublishedModel:
    """A model folder that was published.

    Attributes:
        folder: model.keras, model.json, card.json, card.html, card.md, LICENSE and files.json.
        card: its model.json.
        notices: sentences that its publisher should read, such as that it has no evaluation.
    """

    folder: Path
    card: ModelCard
    notices: tuple[str, ...] = ()


def publish_model(run: Path, folder: Path, wishes: PublishSettings) -> PublishedModel:
    """Write a network, or several that are asked together, with their card as a published model.

    The folder appears whole or not at all. Of several networks the others lie below members/.

    Args:
        run: the run folder, or another one that holds model.keras and model.json.
        folder: where it is written; it must be free.
        wishes: what goes with it, and how.

    Returns:
        What was published, and what its publisher should read.

    Raises:
        ZooError: it cannot be published; lists all reasons. `NamesFoundError` where patients' names are among them.
        ModelError: there is no network in `run`, or a damaged one.
        OutputExistsError: `folder` is not free.
    """
    check_absent(folder)
    draft = _Draft([run, *wishes.together_with], wishes)
    texts = draft.texts()
    _refuse(draft.reasons, draft.named(texts))
    with staged_folder(folder) as staging:
        for name, content in {**draft.weights(), **{name: text.encode() for name, text in texts.items()}}.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(staging / name, content)
        written = sorted(path for path in staging.rglob("*") if path.is_file())
        facts = {
            path.relative_to(staging).as_posix(): FileFacts(sha256=sha256_of(path), size=path.stat().st_size)
            for path in written
        }
        write_json(staging / FILES, FileList(files=facts).model_dump(mode="json"))
    return PublishedModel(folder, draft.published, tuple(draft.notices))


@dataclass(frozen=True)
class _Network:
    """A network about to be published.

    Attributes:
        path: its model.keras.
        card: its model.json.
        run: its folder.
        dataset: that it was trained on; None: it is gone.
        weights: content of the published model.keras.
        published: its published model.json.
        place: what its files' names begin with in the published folder.
    """

    path: Path
    card: ModelCard
    run: RunFolder
    dataset: PreparedDataset | None
    weights: bytes
    published: ModelCard
    place: str

    @property
    def judged(self) -> JudgedNetwork:
        return JudgedNetwork(self.card, self.dataset, (self.card.model_sha256, self.published.model_sha256))


class _Draft:
    """A model about to be published: what is to be written, and every reason why it may not be.

    Args:
        runs: folders of its networks.
        wishes: of its publisher.
    """

    def __init__(self, runs: Sequence[Path], wishes: PublishSettings) -> None:
        self.reasons: list[str] = []
        self.notices: list[str] = []
        self._wishes = wishes
        found = [read_model_card(run) for run in runs]
        for network, card in found:
            reasons = [*_code_reasons(network, card), *_state_reasons(RunFolder(network.parent), wishes)]
            self.reasons += [reason if len(runs) == 1 else f"{network.parent}: {reason}" for reason in reasons]
        if len({card.model_sha256 for _, card in found}) < len(found):
            self.reasons.append("a network is named twice; each is asked once")
        self._tried(lambda: check_ensemble(found))
        self._words = self._tried(lambda: _words_of(wishes.description))
        salt = secrets.token_hex(16)
        self._networks = [self._network(number, *one, salt) for number, one in enumerate(found, 1)]
        self._evaluated = self._read_evaluated()
        if self._evaluated is not None:
            measured = {"views": self._evaluated.views}
            self._networks = [
                replace(one, published=one.published.model_copy(update=measured)) for one in self._networks
            ]
        self._first = self._networks[0]
        self.published = self._first.published

    def _network(self, number: int, path: Path, card: ModelCard, salt: str) -> _Network:
        run = RunFolder(path.parent)
        dataset = dataset_of(run, card)
        if dataset is None and run.holds_run():
            notice = (
                "the prepared dataset is gone: patients are not counted, and of the source's names only those of cases "
                "were searched for"
            )
            self.notices += [notice] if notice not in self.notices else []
        stored = self._tried(lambda: stored_network(path, is_half=self._wishes.half))
        weights, precision = stored or (b"", "float32")
        published = anonymous_card(
            card.model_copy(update={"weights_precision": precision}),
            salt,
            dataset="" if self._words is None else self._words.data.name,
            model_sha256=hashlib.sha256(weights).hexdigest(),
        )
        place = "" if number == 1 else f"{MEMBERS}/{number}/"
        return _Network(path, card, run, dataset, weights, published, place)

    def _tried(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except R2D2Error as error:
            self.reasons.append(str(error))
            return None

    def _read_evaluated(self) -> EvaluatedModel | None:
        folder = self._wishes.evaluation
        if folder is None:
            self.notices.append("no evaluation was named: its card says that it was not evaluated")
            return None
        evaluated = self._tried(lambda: read_evaluated(folder, self._wishes.prediction))
        if evaluated is not None:
            self.reasons += evaluation_faults(evaluated, [network.judged for network in self._networks])
        return evaluated

    def weights(self) -> dict[str, bytes]:
        """Give the networks of the folder by their files."""
        return {f"{network.place}{network.run.model.name}": network.weights for network in self._networks}

    def texts(self) -> dict[str, str]:
        """Give the texts of the folder by their files; without a description, those of the networks alone."""
        texts = {f"{network.place}{network.run.card.name}": _as_json(network.published) for network in self._networks}
        if self._words is None:
            return texts
        description, evaluated = self._description(self._words), self._evaluated
        pictures = None
        if self._wishes.with_pictures and evaluated is not None and not self.reasons:
            pictures = pictures_section(evaluated, self._first.dataset, self._wishes.prediction)
        return {
            **texts,
            CARD: _as_json(description),
            PAGE: card_html(description, self.published, pictures),
            MARKDOWN: card_markdown(description, self.published),
            LICENCE: _licence(self._words),
        }

    def _description(self, words: AuthorWords) -> ModelDescription:
        evaluated, first, (parent, parent_sha256) = self._evaluated, self._first, parent_of(self._first.run)
        cards = [network.card for network in self._networks]
        return ModelDescription(
            **words.model_dump(exclude={"licence_file", "allowed_words", "data"}),
            name=self._wishes.name,
            data=DataOfModel(
                **words.data.model_dump(),
                cases=dict(Counter(case.split for case in first.card.cases)),
                patients=None if first.dataset is None else _patients(first.dataset),
                seen_before=sum(case.split != "test" for case in first.card.seen_before),
            ),
            published=datetime.datetime.now(datetime.UTC).date().isoformat(),
            scores=scores_of(evaluated, cards) if evaluated is not None and evaluated.predicted else None,
            parent=parent,
            parent_sha256=parent_sha256,
            training=training_of(first.run),
            weights_sha256=self.published.model_sha256,
            further=tuple(self._further(place) for place in range(1, len(self._networks))),
        )

    def _further(self, place: int) -> FurtherNetwork:
        network, before = self._networks[place], [one.card.familiarity for one in self._networks[:place]]
        (parent, parent_sha256), known = parent_of(network.run), network.card.familiarity
        return FurtherNetwork(
            weights_sha256=network.published.model_sha256,
            slice_axis=network.card.scan_preparation.slice_axis,
            network=network.card.network.model_dump(mode="json"),
            epoch=network.card.epoch,
            validation_dice=network.card.validation_dice,
            expected_rate=None if known is None or known in before else known.expected_rate,
            parent=parent,
            parent_sha256=parent_sha256,
            training=training_of(network.run),
        )

    def named(self, texts: dict[str, str]) -> list[NamedText]:
        """List the texts that have names of the sources."""
        found: dict[NamedText, None] = {}
        for network in self._networks:
            names = source_names(network.card, network.dataset, self._evaluated, network.run)
            found |= dict.fromkeys(names_in_texts(texts, network.path, names, self._words, network.published))
        return list(found)


def _words_of(description: Path | AuthorWords) -> AuthorWords:
    return description if isinstance(description, AuthorWords) else read_author_words(description)


def _code_reasons(network: Path, card: ModelCard) -> list[str]:
    build = getattr(card.network, "build", None)
    if build is not None:
        return [f"its card names code, {build}, which no published model may have; use one of R2D2's architectures"]
    fault = network_file_fault(network, OUR_CLASSES)
    return [] if fault is None else [f"{network.name} would be refused by whoever reads it: {fault}"]


def _state_reasons(run: RunFolder, wishes: PublishSettings) -> list[str]:
    status = run.status()
    if status.state is None or status.is_done or wishes.unfinished:
        return []
    state = f"its run is {status.state.replace('_', ' ')}, not finished"
    return [f"{state}; let it end, or ask for the best network so far (--unfinished)"]


def _patients(dataset: PreparedDataset) -> dict[Split, int]:
    splits: dict[Split, tuple[str, ...]] = {
        "train": dataset.splits.train,
        "validation": dataset.splits.validation,
        "test": dataset.splits.test,
    }
    return {split: len({dataset.case(one).patient_id for one in case_ids}) for split, case_ids in splits.items()}


def _licence(words: AuthorWords) -> str:
    """Give the content of LICENSE: the expression, who must be named, where the text stands, or the text itself."""
    lines = [f"SPDX-License-Identifier: {words.licence}", "", "Of the weights in model.keras.", "", words.attribution]
    lines += ["", f"The data that they were trained on ({words.data.name}) were used under: {words.data.licence}.", ""]
    if words.licence_file is None:
        lines.append("The texts of licences by their identifiers: https://spdx.org/licenses/")
    else:
        lines.append(words.licence_file.read_text(encoding="utf-8"))
    return "\n".join(lines).rstrip() + "\n"


def _as_json(content: BaseModel) -> str:
    return json.dumps(content.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _refuse(reasons: list[str], named: list[NamedText]) -> None:
    """Raise where there is a reason not to publish: all of them, and patients' names for the terminal alone."""
    if not reasons and not named:
        return
    message = _listed([*reasons, *(one.sentence for one in named)])
    if named:
        raise NamesFoundError(message, _listed([*reasons, *(one.with_names for one in named)]))
    raise ZooError(message)


def _listed(reasons: list[str]) -> str:
    if len(reasons) == 1:
        return f"not published: {reasons[0]}"
    return "\n  - ".join([f"not published, for {len(reasons)} reasons:", *reasons])
