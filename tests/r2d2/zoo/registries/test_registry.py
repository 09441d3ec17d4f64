"""Registries in folders: versions that never change, an index made from the folders, and what is found to be wrong."""

import json
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from dist_training.architectures import CustomSettings
from dist_training.inference.model_card import ViewSettings
from imgmed.errors import ImgMedError
from r2d2.errors import ZooError
from r2d2.tasks.registries import AddSettings, add_registry, forget_registry, index_registry
from r2d2.tasks.zoo import (
    ListSettings,
    PullSettings,
    list_models,
    pull,
    remove_model,
    show_model,
    verify_models,
)
from r2d2.zoo.registries.index import read_index
from r2d2.zoo.registries.names import ZooName, parse_name
from r2d2.zoo.registries.registry import FolderRegistry, local_zoo, shipped_models
from r2d2_base.files import sha256_of
from tests.zoo_models import add_model, list_files, write_model


def test_versions_follow_each_other_and_the_same_weights_come_once(registry: Path) -> None:
    index = (registry / "index.json").read_bytes()
    entries = read_index(index, "index").entries()
    assert list(map(str, entries)) == ["hippocampus-unet:1", "hippocampus-unet:2", "nuclei:1"]
    entry = entries[ZooName("hippocampus-unet", 2)]
    assert (entry.title, entry.licence, entry.labels) == ("Better", "CC-BY-SA-4.0", ("Anterior", "Posterior"))
    assert entry.size == sum(path.stat().st_size for path in (registry / "hippocampus-unet/2").iterdir())
    before = sorted(registry.rglob("*"))
    with pytest.raises(ZooError, match=r"^nuclei:1 in .*registry holds these very weights already; nothing was added"):
        add_model(registry, "hippocampus-unet", b"nuclei")
    assert sorted(registry.rglob("*")) == before
    assert add_model(registry, "nuclei", b"more") == registry / "nuclei/2"


def test_the_same_weights_come_again_where_they_see_other_views(registry: Path) -> None:
    turned = ViewSettings(rotations_degrees=(-8, 8))
    assert add_model(registry, "nuclei", b"nuclei", views=turned) == registry / "nuclei/2"
    with pytest.raises(ZooError, match=r"^nuclei:2 in .* holds these very weights already"):
        add_model(registry, "nuclei", b"nuclei", views=turned)


def test_an_entry_is_read_again_where_its_model_was_changed(registry: Path) -> None:
    place, name = FolderRegistry(registry, "registry"), parse_name("nuclei:1")
    assert place.entry(name) is place.entry(name)
    card = registry / "nuclei/1/card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"title": "Changed"}))
    assert place.entry(name).title == "Changed"
    card.unlink()
    with pytest.raises(ZooError, match=r"card\.json"):
        place.entry(name)


def test_several_that_publish_at_once_get_a_version_each(tmp_path: Path) -> None:
    """Each has opened the folder for itself, so that the lock keeps threads apart as it does processes."""
    with ThreadPoolExecutor(4) as threads:
        folders = list(threads.map(lambda weights: add_model(tmp_path, "nuclei", weights), [b"1", b"2", b"3", b"4"]))
    assert sorted(folder.name for folder in folders) == ["1", "2", "3", "4"]
    entries = read_index((tmp_path / "index.json").read_bytes(), "index").entries()
    assert [entry.weights for entry in entries.values()] == [
        (sha256_of(tmp_path / "nuclei" / version / "model.keras"),) for version in "1234"
    ]
    assert [one.faults for one in verify_models(None, tmp_path)] == [()] * 4


def test_the_index_is_made_anew_from_the_folders(registry: Path) -> None:
    index = (registry / "index.json").read_bytes()
    (registry / "index.json").unlink()
    write_model(registry / "nuclei/x", b"no version")
    assert index_registry(registry) == ()
    assert (registry / "index.json").read_bytes() == index
    (registry / "nuclei/1/card.json").write_text("{}")
    (fault,) = index_registry(registry)
    assert fault.startswith("nuclei:1 in ") and "is damaged" in fault
    assert "nuclei" not in json.loads((registry / "index.json").read_bytes())["models"]


def test_what_fails_leaves_no_version(registry: Path) -> None:
    before = sorted(registry.rglob("*"))

    def fill(called: ZooName, folder: Path) -> None:
        write_model(folder, b"new")
        raise ZooError("refused")

    with pytest.raises(ZooError, match="refused"):
        FolderRegistry(registry, "it").add("nuclei", fill)
    assert sorted(registry.rglob("*")) == before


def relisted(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """A change that files.json then tells of, as one who tampers with care would do it."""

    def done(folder: Path) -> None:
        change(folder)
        list_files(folder)

    return done


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "LICENSE").write_text("MIT"), "LICENSE was changed"),
        (lambda folder: (folder / "card.md").unlink(), "card.md is missing"),
        (lambda folder: (folder / "more.py").write_text(""), "more.py does not belong to it"),
        (lambda folder: (folder / "files.json").unlink(), "files.json is missing"),
        (lambda folder: (folder / "files.json").write_text("{}"), "is no list of a model's files that can be used"),
        (lambda folder: (folder / "card.md").rename(folder / "x") and (folder / "card.md").symlink_to("x"),
         "card.md is no plain file; x does not belong to it"),
        (relisted(lambda folder: (folder / "LICENSE").write_text("MIT")), "it is not what the index says (files)"),
        (relisted(lambda folder: write_model(folder, b"other").joinpath("model.json").write_bytes(
            (folder.parent.parent / "nuclei/1/model.json").read_bytes())), "SHA-256 differs"),
    ],
)  # fmt: skip
def test_every_change_is_found(registry: Path, change: Callable[[Path], object], said: str) -> None:
    assert all(one.faults == () for one in verify_models(None, registry))
    change(registry / "hippocampus-unet/1")
    found = {str(one.name): "; ".join(one.faults) for one in verify_models(None, registry)}
    assert said in found.pop("hippocampus-unet:1")
    assert set(found.values()) == {""}


def test_a_card_that_names_code_is_refused_everywhere(registry: Path, zoo: Path) -> None:
    code = CustomSettings(build="tests.small_network:build")
    folder = add_model(registry, "hippocampus-unet", b"code", network=code)
    (one,) = verify_models("hippocampus-unet:3", registry)
    assert "names code that would run, tests.small_network:build" in one.faults[0]
    add_registry(AddSettings(name="here", location=str(registry)))
    for model in ("hippocampus-unet", str(folder)):
        with pytest.raises(ZooError, match="names code that would run"):
            pull(PullSettings(model=model, name="mine" if "/" in model else None))
    assert not list(zoo.glob("*/*/*"))


def test_links_in_a_registry_lead_nowhere(registry: Path, zoo: Path, tmp_path: Path) -> None:
    """Neither a file, nor a model's folder, nor that of a version."""
    add_registry(AddSettings(name="here", location=str(registry)))
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in ("hippocampus-unet/2/LICENSE", "hippocampus-unet/2", "hippocampus-unet"):
        (registry / path).rename(outside / "it")
        (registry / path).symlink_to(outside / "it")
        with pytest.raises(ZooError, match=r"cannot be read .a link is in its way.; tell who keeps the registry"):
            pull(PullSettings(model="hippocampus-unet"))
        (registry / path).unlink()
        (outside / "it").rename(registry / path)
    assert not list(zoo.glob("*/*/*"))
    assert pull(PullSettings(model="hippocampus-unet")).is_new


def test_a_folder_is_a_remote_registry(registry: Path, zoo: Path) -> None:
    added = add_registry(AddSettings(name="here", location=str(registry)))
    assert (added.models, added.replaced) == (3, None)
    assert [one.where for one in list_models(ListSettings(words=("CELL", "anterior"))).models] == [("here",)]
    assert show_model("nuclei").card == "# Cell nuclei\n"
    assert pull(PullSettings(model="nuclei")).folder == zoo / "nuclei/1"
    assert [one.where for one in list_models(ListSettings(words=("nuclei",))).models] == [("local", "here")]
    assert [one.where for one in list_models(ListSettings(offline=True)).models] == [("local",)]
    (registry / "hippocampus-unet/2/model.keras").write_bytes(b"short")
    with pytest.raises(ZooError, match=r"model\.keras is not the file that the index names"):
        pull(PullSettings(model="hippocampus-unet"))
    assert sorted(path.name for path in zoo.iterdir() if not path.name.startswith(".")) == [
        "index.json",
        "nuclei",
        "registries.json",
    ]
    with pytest.raises(ZooError, match=r"name the version to be removed; there is nuclei:1"):
        remove_model("nuclei")
    assert remove_model("nuclei:1") == ZooName("nuclei", 1)
    assert not (zoo / "nuclei").exists()
    with pytest.raises(ZooError, match="nuclei:1 is not in the local zoo"):
        remove_model("nuclei:1")
    forget_registry("here")
    assert list_models().models == () and list_models().remotes == {}
    with pytest.raises(ZooError, match=r"no such registry: .*nowhere; name a folder that holds index\.json"):
        add_registry(AddSettings(name="here", location="nowhere"))
    with pytest.raises(ZooError, match="local is a word for models that are here already"):
        add_registry(AddSettings(name="local", location=str(registry)))


def packed(folder: Path, archive: Path, more: dict[str, bytes]) -> Path:
    """A .zip or .tar.gz of a model's folder, with members that no such archive has."""
    files = {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in folder.iterdir()} | more
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for name, data in files.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(archive, "w:gz") as taped:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                taped.addfile(info, BytesIO(data))
    return archive


def test_a_model_comes_from_an_archive(registry: Path, zoo: Path, tmp_path: Path) -> None:
    archive = packed(registry / "hippocampus-unet/2", tmp_path / "model.zip", {})
    for is_new in (True, False):
        pulled = pull(PullSettings(model=str(archive)))
        assert (str(pulled.name), pulled.is_new) == ("hippocampus-unet:2", is_new)
    assert str(pull(PullSettings(model=archive, name="mine")).name) == "mine:1"
    other = packed(registry / "hippocampus-unet/1", tmp_path / "other.tar.gz", {})
    with pytest.raises(ZooError, match=r"hippocampus-unet:2 in the local zoo is not that of .*other\.tar\.gz"):
        pull(PullSettings(model=other, name="hippocampus-unet:2"))
    assert str(pull(PullSettings(model=other)).name) == "hippocampus-unet:1"
    assert [one.faults for one in verify_models()] == [(), (), ()]
    with pytest.raises(ZooError, match="--from goes with the name of a model"):
        pull(PullSettings(model=other, registry="here"))


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"/etc/evil": b"x"}, "would be written outside the folder; nothing was unpacked"),
        ({"1/../../evil": b"x"}, "would be written outside the folder"),
        ({"1/evil.py": b"x"}, r"is not as it was published: evil.py does not belong to it; nothing was installed"),
        ({"2/files.json": b"{}"}, "holds 2 published models"),
    ],
)
def test_archives_that_are_refused(
    registry: Path, zoo: Path, tmp_path: Path, suffix: str, more: dict[str, bytes], reason: str
) -> None:
    archive = packed(registry / "nuclei/1", tmp_path / f"model{suffix}", more)
    with pytest.raises((ZooError, ImgMedError), match=reason) as caught:
        pull(PullSettings(model=archive))
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert not zoo.exists()


def test_archives_of_something_else(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "scan.zip").write_bytes(b"PK")
    with pytest.raises(ImgMedError, match="truncated or damaged"):
        pull(PullSettings(model=tmp_path / "scan.zip"))
    with pytest.raises(ZooError, match="no such file or folder: nowhere"):
        pull(PullSettings(model="nowhere.zip"))
    with pytest.raises(ZooError, match=r"holds no published model \(files\.json is missing\)"):
        pull(PullSettings(model=tmp_path))


def test_where_the_local_zoo_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("R2D2_ZOO", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_zoo().folder == tmp_path / ".local/share/r2d2/zoo"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # to be ignored, says the XDG specification
    assert local_zoo().folder == tmp_path / ".local/share/r2d2/zoo"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert local_zoo().folder == tmp_path / "data/r2d2/zoo"
    monkeypatch.setenv("R2D2_ZOO", str(tmp_path / "zoo"))
    assert local_zoo().folder == tmp_path / "zoo"


def test_shipped_models_are_as_published_and_stay() -> None:
    for one in verify_models():
        assert one.faults == ()
    for name in shipped_models().names():
        with pytest.raises(ZooError, match="came with R2D2 and stays"):
            remove_model(str(name))


@pytest.mark.parametrize("name", ["Zoo", "a_b", "a--b", "-a", "a" * 65, "", "../a", "a:0", "a:01", "a:x", "a:1:2", "ä"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ZooError, match=r"is no name for the zoo|a version is a whole number from 1"):
        parse_name(name)
