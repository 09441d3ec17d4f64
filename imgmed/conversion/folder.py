"""A folder of sources to a folder of pictures: in parallel, restartable, broken sources listed at the end."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imgmed.conversion.manifest import Manifest, Record, open_manifest
from imgmed.conversion.sources import Conversion, Source, find_sources
from imgmed.errors import ConversionError, SourceNotFoundError, UnreadableFileError
from r2d2_base.errors import NoSpaceError, NotWritableError, R2D2Error
from r2d2_base.files import make_folder, write_bytes
from r2d2_base.processes import ProcessPool
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["Conversion", "ConversionSummary", "convert_folder"]

BYTES_WORTH_A_WORKER = 2_000_000  # of sources: starting a process takes about as long as converting these


@dataclass(frozen=True)
class ConversionSummary:
    """What a run did.

    Args:
        sources: files and DICOM series that there are to convert.
        converted: of these, converted by this run.
        pictures: there now, of all these sources.
        gone: sources of earlier runs that are no more; their pictures are still there.
    """

    sources: int
    converted: int
    pictures: int
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    conversion: Conversion
    source: Source
    folder: Path

    @property
    def name(self) -> PurePosixPath:
        return self.source.name

    @property
    def claim(self) -> str:
        return self.conversion.claim(self.name)


def convert_folder(
    conversion: Conversion,
    source: Path,
    out: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> ConversionSummary:
    """Convert every source in a folder and its sub-folders, whose structure is kept; a DICOM series is one source.

    Pictures of a source whose content (SHA-256) is as it was, and which are all there, are left alone: a run that
    was interrupted goes on, one that was complete does nothing. Every picture is written beside and renamed. The
    result does not depend on the number of workers.

    Args:
        conversion: what is done with each source.
        source: a folder, or a single file; hidden files and folders are left out, links are followed.
        out: folder of the pictures; absent, empty, or an earlier run's with the same settings.
        workers: processes at most, each with one source at a time in memory; little work is done by fewer.
        progress: called with a stage, the sources done, and their number.
        stop: ends the work where it is made; what is done stays done.

    Returns:
        What was done.

    Raises:
        SourceNotFoundError: no source is there.
        ConversionError: two sources would have pictures of the same name (nothing is written then); or some sources
            cannot be converted (the others are done); all of them are listed.
        OutputExistsError: `out` holds other files.
        NoSpaceError: the disk is full; what is done stays done.
        NotWritableError: `out` cannot be written; what is done stays done.
    """
    source, out, watcher = Path(source), Path(out), Watcher(progress, stop)
    root = source.parent if source.is_file() else source
    _check_apart(root, out)
    jobs = [_Job(conversion, found, out) for found in find_sources(conversion, source, root)]
    _check_claims(jobs)
    with open_manifest(out, conversion.model_dump(mode="json"), root) as manifest:
        waiting = _waiting(jobs, manifest, workers, watcher)
        problems = _convert(waiting, manifest, workers, watcher)
        claims = {job.claim for job in jobs}
        pictures = sum(len(manifest.records[claim].pictures) for claim in claims if claim in manifest.records)
        records = manifest.records.values() if source.is_dir() else ()
        gone = tuple(sorted(record.source for record in records if record.claim not in claims))
    if problems:
        done = f"; the other {len(jobs) - len(problems)} are done" if len(problems) < len(jobs) else ""
        raise ConversionError(f"{len(problems)} of {len(jobs)} files could not be converted{done}:", problems)
    return ConversionSummary(len(jobs), len(waiting), pictures, gone)


def convert_source(job: _Job) -> Record:
    """Convert one source, write its pictures, and return what the manifest notes about it."""
    try:
        size, digest = job.source.size, job.source.sha256  # before reading: a later change is seen
    except OSError as error:
        raise UnreadableFileError(
            f"{job.source.origin}: cannot be read ({(error.strerror or str(error)).lower()})"
        ) from error
    detail, pictures = job.conversion.convert(job.source.volume)
    target = job.folder / job.claim
    make_folder(target.parent)
    sizes = {}
    for ending, data in pictures:
        write_bytes(target.with_name(target.name + ending), data)
        sizes[job.claim + ending] = len(data)
    return Record(job.claim, str(job.name), size, digest, detail, sizes)


def _check_apart(root: Path, out: Path) -> None:
    if not root.exists():
        raise SourceNotFoundError(f"no such file or folder: {root}")
    inner, outer = out.resolve(), root.resolve()
    if inner == outer or outer in inner.parents:
        raise ConversionError(
            f"{out} lies within the sources {root}, where its pictures would be taken for sources;"
            " choose a folder beside them"
        )


def _check_claims(jobs: Sequence[_Job]) -> None:
    holders: dict[str, list[str]] = {}
    for job in jobs:
        holders.setdefault(job.claim, []).append(str(job.name))
    problems = [f"{claim}: {' and '.join(names)}" for claim, names in holders.items() if len(names) > 1]
    if problems:
        raise ConversionError("several files would give pictures of one name; rename them, or convert apart:", problems)


def _waiting(jobs: Sequence[_Job], manifest: Manifest, workers: int, watcher: Watcher) -> list[_Job]:
    """The jobs that are not done already."""
    known = [job for job in jobs if job.claim in manifest.records]
    done = set()
    threads = ThreadPoolExecutor(max(1, workers))  # hashing leaves Python's lock alone
    try:
        checks = threads.map(lambda job: _is_done(job, manifest), known)
        for number, (job, is_done) in enumerate(zip(known, checks, strict=True), start=1):
            if is_done:
                done.add(job.claim)
            watcher.report("checking", number, len(known))
    finally:
        threads.shutdown(cancel_futures=True)
    return [job for job in jobs if job.claim not in done]


def _is_done(job: _Job, manifest: Manifest) -> bool:
    record = manifest.records[job.claim]
    try:
        return record.source == str(job.name) and record.is_current(job.source, job.folder)
    except OSError:
        return False


def _convert(jobs: Sequence[_Job], manifest: Manifest, workers: int, watcher: Watcher) -> list[str]:
    problems: dict[str, str] = {}
    workers = min(workers, 1 + sum(_bytes(job.source) for job in jobs) // BYTES_WORTH_A_WORKER)
    if jobs:
        watcher.report("converting", 0, len(jobs))
    with ProcessPool(workers, watcher, keep_open=(manifest.lock,)) as pool:
        for number, outcome in enumerate(pool.map_as_ready(convert_source, jobs), start=1):
            if outcome.error is None:
                manifest.add(outcome.result)
            else:
                problems[outcome.task.claim] = _problem(outcome.task, outcome.error)
            watcher.report("converting", number, len(jobs))
    return [problems[claim] for claim in sorted(problems)]


def _bytes(source: Source) -> int:
    try:
        return source.size
    except OSError:
        return 0


def _problem(job: _Job, error: Exception) -> str:
    """One sentence about a source that cannot be converted; whatever is no fault of the source is raised."""
    if isinstance(error, NoSpaceError | NotWritableError) or not isinstance(error, R2D2Error | MemoryError):
        raise error
    text = str(error) if isinstance(error, R2D2Error) else f"needs too much memory ({error})"
    return text if str(job.source.origin) in text else f"{job.source.origin}: {text}"
