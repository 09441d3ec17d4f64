"""r2d2 zoo: models with names and versions, that others can use, check and start from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.cli import zoo_export, zoo_import
from r2d2.cli.settings_command import SettingsCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from r2d2.tasks.zoo import Listing

__all__ = ["app"]

EXAMPLES = (
    "Examples: 'r2d2 zoo list'; 'r2d2 predict --model zoo:hippocampus-unet --input scans --out work/predictions'; "
    "'r2d2 train --dataset work/new transfer.start_from=zoo:hippocampus-unet'."
)

app = typer.Typer(
    help="Models with names and versions: found, fetched, checked, published.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)

LONGEST_WHOLE = 28  # letters of a name that is not broken in a list of 80 columns
OFFLINE = typer.Option(False, "--offline", help="Ask no remote registry.")


class PublishCommand(SettingsCommand):
    """The command with the help of what is published."""

    def setting_fields(self) -> dict[str, FieldInfo]:
        """Give the fields by the names of the options."""
        from r2d2.zoo.publishing.publish import PublishSettings

        return PublishSettings.model_fields


@app.command("list", epilog="Example: r2d2 zoo list --offline")
def list_command(offline: bool = OFFLINE) -> None:
    """List the models of the local zoo, those that come with R2D2, and those of the registries that were added."""
    _list((), offline)


@app.command("search", epilog="Example: r2d2 zoo search hippocampus mri")
def search(
    words: list[str] = typer.Argument(metavar="WORD", help="All of them must be there; capital letters do not count."),
    offline: bool = OFFLINE,
) -> None:
    """List the models in whose name, title, labels, channels or dataset all the words are."""
    _list(tuple(words), offline)


@app.command("show", epilog="Example: r2d2 zoo show hippocampus-unet")
def show(model: str = typer.Argument(metavar="NAME[:VERSION]", help="By default the newest version.")) -> None:
    """Print a model's card: what it is for, what it was trained on, how well it does, and where it fails."""
    from r2d2.cli.progress import stages
    from r2d2.tasks.zoo import show_model

    with stages() as report:
        shown = show_model(model, progress=report)
    typer.echo(f"{shown.name} ({shown.where})", err=True)
    typer.echo(shown.card)


@app.command("add", epilog="Example: r2d2 zoo add hospital https://zoo.example.org/models --pin sha256:HEX")
def add(
    name: str = typer.Argument(metavar="NAME", help="What the registry is called from now on."),
    location: str = typer.Argument(metavar="LOCATION", help="A folder with an index.json, or an http(s) address."),
    pin: str = typer.Option(
        None,
        metavar="sha256:HEX|ed25519:KEY",
        help="Take only this index.json, by its SHA-256; or only what is signed with the key (base64).",
    ),
    insecure: bool = typer.Option(False, "--insecure", help="Fetch by plain HTTP, which anyone on the way can change."),
) -> None:
    """Add a remote registry, from which models can be pulled; one of the same name is replaced."""
    from r2d2.cli.progress import stages
    from r2d2.reports.formatting import plural
    from r2d2.tasks.registries import AddSettings, add_registry

    with stages() as report:
        added = add_registry(AddSettings(name=name, location=location, pin=pin, insecure=insecure), progress=report)
    typer.echo(f"added {name} with {plural(added.models, 'model')}: {location}", err=True)
    if added.replaced is not None and added.replaced != location:
        typer.echo(f"note: {name} was {added.replaced} until now", err=True)
    if pin is None:
        typer.echo(f"its index is not pinned; to take no other: --pin sha256:{added.sha256}", err=True)


@app.command("pull", epilog="Example: r2d2 zoo pull hippocampus-unet:1 --from hospital")
def pull(
    model: str = typer.Argument(
        metavar="NAME[:VERSION]|FILE", help="A model of a registry; or an archive or folder that holds one."
    ),
    registry: str = typer.Option(None, "--from", metavar="REGISTRY", help="By default all that were added are asked."),
    name: str = typer.Option(None, metavar="NAME", help="name of an archive's model; by default as published."),
) -> None:
    """Bring a model into the local zoo; it is there when all of it came and is as it was published.

    Interrupted, the same command goes on where it stopped.
    """
    from r2d2.cli.progress import stages
    from r2d2.tasks.zoo import PullSettings
    from r2d2.tasks.zoo import pull as pull_model

    try:
        with stages() as report:
            pulled = pull_model(PullSettings(model=model, registry=registry, name=name), progress=report)
    except KeyboardInterrupt:
        typer.echo("r2d2: interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    said = f"fetched from {pulled.origin}" if pulled.is_new else "is here already, with the same files"
    typer.echo(f"{pulled.name} {said}: {pulled.folder}", err=True)
    typer.echo(f"use it: r2d2 predict --model zoo:{pulled.name} --input SCANS --out PREDICTIONS", err=True)


@app.command("describe", epilog="Example: r2d2 zoo describe work/run --out card.yaml")
def describe(
    run: Path = typer.Argument(metavar="RUN", help="Run folder of 'r2d2 train'."),
    out: Path = typer.Option(None, help="YAML file, for 'r2d2 zoo publish --description'; by default it is printed."),
) -> None:
    """Write the questions that the author of a model answers before it is published."""
    from r2d2.tasks.zoo import describe as questions

    text = questions(run, out)
    if out is None:
        typer.echo(text, nl=False)
        return
    command = shlex.join(["r2d2", "zoo", "publish", str(run), "--name", "NAME", "--description", str(out)])
    typer.echo(f"wrote {out}; fill it in, then: {command}", err=True)


@app.command(
    "publish",
    cls=PublishCommand,
    epilog="Example: r2d2 zoo publish work/run --name liver-ct --description card.yaml --evaluation work/evaluation",
)
def publish(
    run: Path = typer.Argument(metavar="RUN", help="Run folder of 'r2d2 train'."),
    name: str = typer.Option(..., metavar="NAME", help="Of the model; it gets the next version."),
    to: Path = typer.Option(None, metavar="FOLDER", help="Folder of a registry; by default the local zoo."),
    description: Path = typer.Option(...),
    evaluation: Path = typer.Option(None),
    prediction: Path = typer.Option(None),
    with_pictures: bool = typer.Option(False, "--with-pictures"),
    half: bool = typer.Option(False, "--half"),
    together_with: list[Path] = typer.Option(None, "--with"),
    unfinished: bool = typer.Option(False, "--unfinished"),
) -> None:
    """Publish a trained network as the next version of a model, which then never changes."""
    from r2d2.tasks.zoo import PublishToZooSettings
    from r2d2.tasks.zoo import publish as publish_model
    from r2d2.zoo.publishing.publish import PublishSettings

    wishes = PublishSettings(
        description=description,
        evaluation=evaluation,
        prediction=prediction,
        with_pictures=with_pictures,
        half=half,
        together_with=tuple(together_with or ()),
        unfinished=unfinished,
    )
    published = publish_model(PublishToZooSettings(run=run, name=name, to=to, wishes=wishes))
    for notice in published.notices:
        typer.echo(f"note: {notice}", err=True)
    typer.echo(f"published {published.name}: {published.folder}", err=True)
    typer.echo(f"its card: {published.folder / 'card.html'}", err=True)


@app.command("verify", epilog="Example: r2d2 zoo verify hippocampus-unet:1")
def verify(
    model: str = typer.Argument(None, metavar="[NAME[:VERSION]]", help="By default all models on this machine."),
    registry: Path = typer.Option(None, "--in", metavar="FOLDER", help="Check those of a registry, and its index."),
) -> None:
    """Check that every file of a model is as it was published, and that there is no other."""
    from r2d2.reports.formatting import plural
    from r2d2.tasks.zoo import verify_models

    checked = verify_models(model, registry)
    for one in checked:
        typer.echo(f"{one.name}: {'; '.join(one.faults) if one.faults else 'as published'} ({one.folder})")
    damaged = [one for one in checked if one.faults]
    if damaged:
        typer.echo(f"r2d2: {plural(len(damaged), 'model')} of {len(checked)} not as published", err=True)
        raise typer.Exit(2)


@app.command("remove", epilog="Example: r2d2 zoo remove liver-ct:1")
def remove(
    model: str = typer.Argument(None, metavar="NAME:VERSION", help="A model of the local zoo."),
    registry: str = typer.Option(None, metavar="NAME", help="Forget a remote registry; models from there stay."),
) -> None:
    """Remove one version of a model from the local zoo."""
    from r2d2.errors import ZooError
    from r2d2.tasks.registries import forget_registry
    from r2d2.tasks.zoo import remove_model

    if (model is None) == (registry is None):
        raise ZooError("name either a model, NAME:VERSION, or with --registry a remote registry")
    if registry is not None:
        forget_registry(registry)
        typer.echo(f"forgot {registry}", err=True)
    else:
        typer.echo(f"removed {remove_model(model)}", err=True)


@app.command("index", epilog="Example: r2d2 zoo index /srv/zoo")
def index(folder: Path = typer.Argument(metavar="FOLDER", help="Of a registry: NAME/VERSION/ with models.")) -> None:
    """Write the index of a registry anew, after models were copied into its folder or taken away."""
    from r2d2.tasks.registries import index_registry

    faults = index_registry(folder)
    for fault in faults:
        typer.echo(f"left out: {fault}", err=True)
    typer.echo(f"wrote {folder / 'index.json'}", err=True)
    if faults:
        raise typer.Exit(2)


def _list(words: tuple[str, ...], offline: bool) -> None:
    from r2d2.cli.progress import stages
    from r2d2.tasks.zoo import ListSettings, list_models

    with stages() as report:
        listing = list_models(ListSettings(words=words, offline=offline), progress=report)
    if listing.models:
        _echo_models(listing)
    else:
        typer.echo("no model of the zoo has all these words" if words else "there is no model here yet", err=True)
    for name, remote in () if words else listing.remotes.items():
        pinned = f", pinned to {remote.pin:.20}..." if remote.pin else ", not pinned"
        typer.echo(f"registry {name}: {remote.location}{pinned}", err=True)
    for fault in listing.faults:
        typer.echo(f"warning: {fault}", err=True)


def _echo_models(listing: Listing) -> None:
    """Write two lines a model: its name, size, places and licence; below, what it is for."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    width = min(max(len(str(model.name)) for model in listing.models), LONGEST_WHOLE)
    for model in listing.models:
        entry = model.entry
        line = f"{model.name!s:<{width}}  {_size(entry.size):>8}  {', '.join(model.where)}  {entry.licence}"
        console.print(Text(line, overflow="fold"))
        console.print(Padding(Text(f"{entry.title}: {_few(entry.labels)}", overflow="fold"), (0, 0, 0, 4)))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _few(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:4])
    return shown if len(labels) <= 4 else f"{shown} and {len(labels) - 4} more"


app.command("export")(zoo_export.export)
app.command("import")(zoo_import.import_command)
