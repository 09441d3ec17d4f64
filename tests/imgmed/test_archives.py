"""Archives made by the standard library, by hand and by the system's tar, unpacked within one folder."""

import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from imgmed.archives import is_archive, opened_source, unpack
from imgmed.errors import (
    ImgMedError,
    SourceNotFoundError,
    UnreadableFileError,
    UnsafeArchiveError,
    UnsupportedFormatError,
)
from r2d2_base.errors import NoSpaceError, OutputExistsError

CONTENT = {"Ärzte study/images/p 1.nii": b"image" * 1000, "Ärzte study/labels/p 1.nii": b"label", "empty.txt": b""}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.TGZ"])
def test_every_kind_comes_out_as_it_went_in(tmp_path: Path, name: str) -> None:
    archive = (write_zip if name == "a.zip" else write_tar)(tmp_path / name.replace("TGZ", "tgz"), CONTENT)
    seen: list[tuple[str, int, int]] = []
    out = unpack(archive, tmp_path / "out", progress=lambda *report: seen.append(report))
    assert content_of(tmp_path / "out") == CONTENT
    assert out.files == 3 and not out.skipped and not out.nested
    total = sum(map(len, CONTENT.values()))
    assert seen[0] == ("unpacking", 0, total) and seen[-1] == ("unpacking", total, total)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([archive.name, "out"])


def test_an_archive_of_the_systems_tar(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii").write_bytes(os.urandom(5000))
    (tmp_path / "in" / "empty").mkdir()
    subprocess.run(["tar", "-czf", tmp_path / "a.tgz", "-C", tmp_path, "./in"], check=True)
    unpack(tmp_path / "a.tgz", tmp_path / "out")
    assert content_of(tmp_path / "out" / "in") == content_of(tmp_path / "in")
    assert (tmp_path / "out" / "in" / "empty").is_dir()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a/b/../../../evil"])
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_members_that_leave_the_folder_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    members = {"good.nii": b"1", name: b"2"}
    archive = (write_zip if kind == "a.zip" else write_tar)(tmp_path / kind, members)
    with pytest.raises(UnsafeArchiveError, match="would be written outside the folder; nothing was unpacked"):
        unpack(archive, tmp_path / "in" / "out")
    assert [p.name for p in tmp_path.iterdir()] == [kind]


@pytest.mark.parametrize("name", ["C:\\evil", "..\\evil", "C:/evil"])
def test_windows_paths_of_a_zip_are_judged_like_others(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchiveError, match="outside the folder"):
        unpack(write_zip(tmp_path / "a.zip", {name: b""}), tmp_path / "out")


def test_backslashes_of_a_zip_separate_folders(tmp_path: Path) -> None:
    unpack(write_zip(tmp_path / "a.zip", {"images\\p1.nii": b"x"}), tmp_path / "out")
    assert content_of(tmp_path / "out") == {"images/p1.nii": b"x"}


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "a/../../secret"])
def test_links_that_leave_the_archive_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(UnsafeArchiveError, match="outside"):
        unpack(write_tar(tmp_path / "a.tar", {}, link("x", target)), tmp_path / "out")
    with pytest.raises(UnsafeArchiveError, match="outside"):
        unpack(write_tar(tmp_path / "b.tar", {}, link("x", target, tarfile.LNKTYPE)), tmp_path / "out")
    info = zipfile.ZipInfo("x")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr(info, target)
    with pytest.raises(UnsafeArchiveError, match="outside"):
        unpack(tmp_path / "c.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_within_become_copies_and_nothing_is_written_through_them(tmp_path: Path) -> None:
    files = {"data/a.nii": b"voxels", "dir": b""}
    archive = write_tar(
        tmp_path / "a.tar",
        files,
        link("p1/image.nii", "../data/a.nii"),
        link("p2.nii", "data/a.nii", tarfile.LNKTYPE),
        link("p3.nii", "p1/image.nii"),
        link("folder", "data"),
        link("nowhere", "missing"),
        link("me", "me"),
        *[link(f"chain{n}", f"chain{n + 1}") for n in range(60)],
    )
    out = unpack(archive, tmp_path / "out")
    written = content_of(tmp_path / "out")
    assert written == files | {"p1/image.nii": b"voxels", "p2.nii": b"voxels", "p3.nii": b"voxels"}
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))
    assert {"folder", "nowhere", "me", "chain0"} <= set(out.skipped)


def test_a_link_followed_by_a_member_below_it_writes_inside(tmp_path: Path) -> None:
    """The classic escape: first a link to a folder, then a file 'in' it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    info = tarfile.TarInfo("sub/evil")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(link("sub", "."))
        archive.addfile(info)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert content_of(tmp_path / "out") == {"sub/evil": b""} and not (tmp_path / "out" / "sub").is_symlink()


def test_devices_and_pipes_are_left_out(tmp_path: Path) -> None:
    pipe, device = link("pipe", "", tarfile.FIFOTYPE), link("sda", "", tarfile.BLKTYPE)
    out = unpack(write_tar(tmp_path / "a.tar", {"a": b"1"}, pipe, device), tmp_path / "out")
    assert out.skipped == ("pipe", "sda") and content_of(tmp_path / "out") == {"a": b"1"}


def test_permissions_are_not_taken_over(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.mode = 0o6777
    unpack(write_tar(tmp_path / "a.tar", {}, info), tmp_path / "out")
    assert not (tmp_path / "out" / "a").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


def test_sizes_are_checked_against_the_disk_before_anything_is_written(tmp_path: Path) -> None:
    """Ten megabytes of zeros in ten kilobytes, where less than that is free."""
    archive = write_zip(tmp_path / "a.zip", {"a": b"\0" * 10_000_000})
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(NoSpaceError, match="make room"):
        unpack(archive, tmp_path / "out", free_bytes_margin=free)
    with pytest.raises(NoSpaceError):
        unpack(write_tar(tmp_path / "a.tgz", {"a": b"\0" * 10_000_000}), tmp_path / "out", free_bytes_margin=free)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tgz", "a.zip"]


@pytest.mark.parametrize("declared", [10, 999])
def test_a_zip_that_holds_more_or_less_than_it_declares_is_refused(tmp_path: Path, declared: int) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a": b"x" * 500})
    data = bytearray(archive.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, declared)  # uncompressed size in the central directory
    archive.write_bytes(data)
    with pytest.raises((UnreadableFileError, UnsafeArchiveError)):
        unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_an_encrypted_zip_is_refused_clearly(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.nii": b"x"})
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(UnsupportedFormatError, match=r"member 'a\.nii' is encrypted; unpack it with its password"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_archive_is_one_clear_error(tmp_path: Path, name: str, kept: float) -> None:
    members = {f"{n}.nii": os.urandom(3000) for n in range(4)}
    archive = (write_zip if name == "a.zip" else write_tar)(tmp_path / name, members)
    data = archive.read_bytes()
    end = data.rstrip(b"\0") if name == "a.tar" else data
    archive.write_bytes(end[: int(len(end) * kept)])
    with pytest.raises(UnreadableFileError, match="truncated or damaged") as caught:
        unpack(archive, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_tar_cut_exactly_between_two_members_is_noticed(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {"a": b"1" * 512, "b": b"2" * 512})
    archive.write_bytes(archive.read_bytes()[:1024])
    with pytest.raises(UnreadableFileError, match="its end is missing"):
        unpack(archive, tmp_path / "out")


SMALL = {"a/b.nii": b"image" * 20, "c.txt": b""}


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: 255, lambda byte: 0])
def test_a_changed_byte_anywhere_never_gives_another_error_than_ours(tmp_path: Path, kind: str, change) -> None:
    archive = (write_zip if kind == "a.zip" else write_tar)(tmp_path / kind, SMALL)
    data = archive.read_bytes()
    for place in (place for place, byte in enumerate(data) if byte or kind != "a.tar"):  # a tar is zeros for the most
        archive.write_bytes(data[:place] + bytes([change(data[place])]) + data[place + 1 :])
        try:
            unpack(archive, tmp_path / "out", free_bytes_margin=0)
        except ImgMedError as error:
            assert "\n" not in str(error)
        else:
            shutil.rmtree(tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == [kind]


def test_a_directory_that_points_before_the_file_and_a_member_without_a_name(tmp_path: Path) -> None:
    """Made by hand, after APPNOTE.TXT: offset of the central directory, name of the first member in it."""
    data = write_zip(tmp_path / "a.zip", SMALL).read_bytes()
    end, entry = data.rindex(b"PK\x05\x06"), data.index(b"PK\x01\x02")
    for place, value in ((end + 16, data[end + 16] + 1), (entry + 46, 0)):
        (tmp_path / "a.zip").write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
        with pytest.raises(UnreadableFileError, match=r"a\.zip: truncated or damaged"):
            unpack(tmp_path / "a.zip", tmp_path / "out")


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a": b"1" * 3_000_000, "b": b"2"})

    def interrupt(stage: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "new" / "out", progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_names_that_are_file_and_folder_at_once(tmp_path: Path) -> None:
    for number, members in enumerate(({"a": b"", "a/b": b""}, {"a/b": b"", "a": b""})):
        with pytest.raises(UnreadableFileError, match="both a file and a folder"):
            unpack(write_zip(tmp_path / f"{number}.zip", members), tmp_path / "out")


def test_a_later_member_replaces_an_earlier_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("a")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert content_of(tmp_path / "out") == {"a": b"newer"}


def test_archives_within_stay_packed_and_are_named(tmp_path: Path) -> None:
    out = unpack(write_zip(tmp_path / "a.zip", {"part1/b.tar.gz": b"x", "c.nii.gz": b"y"}), tmp_path / "out")
    assert out.nested == ("part1/b.tar.gz",)
    assert (tmp_path / "out" / "part1" / "b.tar.gz").read_bytes() == b"x"


def test_other_files_and_places(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no such archive: .*a\.zip"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(UnsupportedFormatError, match=r"use \.zip or \.tar"):
        unpack(tmp_path / "a.rar", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(OutputExistsError):
        unpack(write_zip(tmp_path / "b.zip", CONTENT), tmp_path / "full")
    (tmp_path / "long.zip").unlink(missing_ok=True)
    with pytest.raises(UnsupportedFormatError, match="too long"):
        unpack(write_zip(tmp_path / "long.zip", {"x" * 300: b""}), tmp_path / "out")
    assert is_archive(Path("A.Tar.Gz")) and not is_archive(Path("a.nii.gz"))


def test_a_source_is_opened_wherever_it_lies(tmp_path: Path) -> None:
    with opened_source(tmp_path) as (folder, unpacked):
        assert folder == tmp_path and unpacked is None
    archive = write_tar(tmp_path / "Task04.tar.gz", CONTENT)
    with opened_source(archive) as (folder, unpacked):
        assert folder.name == "Task04" and content_of(folder) == CONTENT and unpacked.files == 3
    assert not folder.exists()
