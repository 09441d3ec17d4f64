"""Models fetched from a real web server, which breaks off, is slow, or serves something else: whole or not at all."""

import filecmp
import hashlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r2d2.errors import FetchError, ZooError
from r2d2.tasks.registries import AddSettings, add_registry
from r2d2.tasks.zoo import PullSettings, list_models, pull, show_model, verify_models
from r2d2.zoo.registries import web
from r2d2.zoo.registries.index import LARGEST_INDEX, FileFacts
from r2d2.zoo.registries.places import check_address
from r2d2.zoo.registries.pulling import PulledModel
from r2d2_base.errors import CancelledError, NoSpaceError
from r2d2_base.files import sha256_of
from r2d2_base.progress import UNWATCHED, StopRequest
from tests.web_server import Act, Handler, WebServer, breaking_off, moved, other_bytes, refusing, served, slow
from tests.zoo_models import WEIGHTS, add_model

NETWORK = "/hippocampus-unet/2/model.keras"


def fetched(model: str = "hippocampus-unet") -> PulledModel:
    return pull(PullSettings(model=model))


def added(server: WebServer, **more: object) -> None:
    add_registry(AddSettings(name="hospital", location=server.address, **more))


def models(zoo: Path) -> list[str]:
    """Every file of the local zoo that belongs to a model, begun ones too."""
    return sorted(path.relative_to(zoo).as_posix() for path in zoo.glob("*-*/**/*") if path.is_file())


def facts_of(file: Path) -> FileFacts:
    return FileFacts(sha256=sha256_of(file), size=file.stat().st_size)


def test_a_model_comes_whole_and_once(server: WebServer, registry: Path, zoo: Path) -> None:
    added(server)
    told: list[tuple[str, int, int]] = []
    pulled = pull(PullSettings(model="hippocampus-unet"), progress=lambda *words: told.append(words))
    assert (str(pulled.name), pulled.is_new, pulled.folder) == ("hippocampus-unet:2", True, zoo / "hippocampus-unet/2")
    theirs = registry / "hippocampus-unet/2"
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in pulled.folder.iterdir()) == names
    assert filecmp.cmpfiles(theirs, pulled.folder, names, shallow=False)[0] == names
    total = sum(path.stat().st_size for path in theirs.iterdir())
    assert {one[0] for one in told} == {"fetching hippocampus-unet:2"} and told[-1][1:] == (total, total)
    assert [str(one.name) for one in list_models().models if "local" in one.where] == ["hippocampus-unet:2"]
    asked = len(server.asked)
    assert not fetched().is_new
    assert {path for path, _ in server.asked[asked:]} == {"/index.json"}
    assert fetched("hippocampus-unet:1").folder == zoo / "hippocampus-unet/1"
    assert [one.faults for one in verify_models()] == [(), ()]


@pytest.mark.parametrize(("can_go_on", "begun"), [(True, [0, 1000, 2000]), (False, [0, 1000, 1000])])
def test_what_breaks_off_is_gone_on_with(
    server: WebServer, registry: Path, tmp_path: Path, can_go_on: bool, begun: list[int]
) -> None:
    """By a part of the file where the server gives parts; else from its beginning."""
    server.acts[NETWORK] = breaking_off(1000, times=2, can_go_on=can_go_on)
    place = web.WebPlace(f"{server.address}/", False, UNWATCHED, web.Patience(tries=3, pause_s=0))
    theirs, target = registry / NETWORK[1:], tmp_path / "out" / "model.keras"
    place.fetch(NETWORK[1:], facts_of(theirs), target, tmp_path / "out" / "parts", lambda count: None)
    assert target.read_bytes() == theirs.read_bytes()
    assert [begin for path, begin in server.asked if path == NETWORK] == begun


def test_an_interrupted_call_is_gone_on_with(server: WebServer, zoo: Path) -> None:
    added(server)
    server.acts[NETWORK] = breaking_off(30_000, times=2)
    with pytest.raises(FetchError, match=rf"{NETWORK} cannot be fetched \(.*\); try again") as caught:
        fetched()
    assert caught.value.exit_code == 1
    assert not (zoo / "hippocampus-unet/2").exists() and not (zoo / "index.json").exists()
    stop = StopRequest()

    def stop_at(stage: str, done: int, total: int) -> None:
        if done > 70_000:
            stop.make()

    server.acts[NETWORK] = slow(0.01, 5_000)
    with pytest.raises(CancelledError):
        pull(PullSettings(model="hippocampus-unet"), progress=stop_at, stop=stop)
    (zoo / "hippocampus-unet/.2.unfinished/tmp_of_a_killed_process").write_text("x")
    server.acts.clear()
    assert fetched().is_new
    begun = [begin for path, begin in server.asked if path == NETWORK]
    assert begun[:3] == [0, 30_000, 60_000] and begun[3] > 70_000 - 5000
    assert len([path for path, _ in server.asked if path.endswith("/LICENSE")]) == 1
    assert [one.faults for one in verify_models()] == [()]


def test_a_begun_part_of_another_file_is_fetched_anew(server: WebServer, registry: Path, tmp_path: Path) -> None:
    theirs = registry / NETWORK[1:]
    facts = facts_of(theirs)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / facts.sha256).write_bytes(b"x" * 5000)
    place = web.WebPlace(f"{server.address}/", False, UNWATCHED)
    place.fetch(NETWORK[1:], facts, tmp_path / "model.keras", tmp_path / "parts", lambda count: None)
    assert sha256_of(tmp_path / "model.keras") == facts.sha256
    assert [begin for path, begin in server.asked if path == NETWORK] == [5000, 0]


@pytest.mark.parametrize(
    ("path", "act", "reason"),
    [
        (NETWORK, other_bytes(lambda data: data[:-1] + b"!"), r"SHA-256 differs"),
        (NETWORK, other_bytes(lambda data: data + bytes(10**6)), r"has more than the \d+ bytes that the index names"),
        (NETWORK, other_bytes(lambda data: data[:-1]), r"ended after \d+ of \d+ bytes"),
        (NETWORK, other_bytes(lambda data: b"<html>log in</html>"), r"ended after 19 of \d+ bytes"),
        (NETWORK, moved("file:///etc/passwd"), r"redirects to file:///etc/passwd, which is no HTTP"),
        (NETWORK, moved("ftp://127.0.0.1/model.keras"), r"which is no HTTP"),
        (NETWORK, moved("http://zoo.example.org/"), r"redirects: http://zoo.example.org/: anyone on the way"),
        (NETWORK, moved(NETWORK), r"redirects more than 5 times"),
        (NETWORK, refusing(404), r"cannot be fetched \(HTTP 404 Not Found\); check the address"),
        (NETWORK, refusing(403), r"HTTP 403"),
        (NETWORK, refusing(503), r"HTTP 503 Service Unavailable\); try again"),
        ("/index.json", refusing(404), r"is no registry \(index.json is missing\)"),
        ("/index.json", other_bytes(lambda data: b"<html>"), r"is no index of a registry \(.*\); is the addr"),
        ("/index.json", other_bytes(lambda data: data.replace(b"LICENSE", b"../../x")), r"'../../x' would not be"),
        ("/index.json", other_bytes(lambda data: data.replace(b"LICENSE", b"/etc/x")), r"'/etc/x' would not be"),
        ("/index.json", other_bytes(lambda data: data.replace(b"LICENSE", b"C:\\\\x")), r"would not be a file within"),
        ("/index.json", other_bytes(lambda data: data.replace(b"LICENSE", b"a\\u0000b")), r"would not be a file"),
        ("/index.json", other_bytes(lambda data: data.replace(b'"nuclei"', b'".."')), r"'..' is no name for the zoo"),
        ("/index.json", other_bytes(lambda data: data.replace(b'"2": {', b'"../2": {')), r"has no version"),
        ("/index.json", other_bytes(lambda data: data.replace(b"Better", b"\\u001b[2J")), r"cannot be shown"),
        ("/index.json", other_bytes(lambda data: data.replace(b'version": 1', b'version": 2')), r"of a newer R2D2"),
        ("/index.json", other_bytes(lambda data: data + b" " * LARGEST_INDEX), r"has more than 10000000 bytes"),
        ("/index.json", other_bytes(lambda data: b"[" * 10**6), r"is no index of a registry"),
    ],
)  # fmt: skip
def test_what_a_server_may_not_do_is_one_line_and_leaves_nothing(
    server: WebServer, zoo: Path, path: str, act: Act, reason: str
) -> None:
    added(server)
    server.acts[path] = act
    with pytest.raises(ZooError, match=reason) as caught:
        fetched()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    kept = isinstance(caught.value, FetchError)  # where the same command may go on
    assert [name for name in models(zoo) if not (kept and ".unfinished" in name)] == []


def test_a_server_that_fails_for_a_moment_is_asked_again(server: WebServer) -> None:
    added(server)
    server.acts["/index.json"] = refusing(503, times=1)
    server.acts[NETWORK] = refusing(500, times=1)
    assert fetched().is_new


def test_redirects_within_http_are_followed(server: WebServer) -> None:
    added(server)
    server.acts[NETWORK] = moved("../../elsewhere.keras?signature=1")
    server.acts[r"/elsewhere.keras\?signature=1"] = other_bytes(lambda data: (server.folder / NETWORK[1:]).read_bytes())
    assert fetched().is_new


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (slow(0.02), r"sends \d+ bytes in 0.2 s; try again later"),
        (lambda handler, data, begin: time.sleep(0.5) or True, r"gave nothing for 0.2 s; try again"),
    ],
)
def test_a_server_that_is_too_slow_is_given_up(
    server: WebServer, zoo: Path, act: Act, reason: str, monkeypatch
) -> None:
    added(server)
    server.acts[NETWORK] = act
    monkeypatch.setattr(web, "PATIENCE", web.Patience(answer_s=0.2, slow_s=0.2, slow_bytes=1000, tries=1))
    begin = time.monotonic()
    with pytest.raises(FetchError, match=reason):
        fetched()
    assert time.monotonic() - begin < 20
    assert not (zoo / "hippocampus-unet/2").exists()


def test_a_disk_that_fills_up(server: WebServer, registry: Path, zoo: Path) -> None:
    """The kernel itself says so: what is to be written is /dev/full. And more than is free is not begun with."""
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    added(server)
    parts = zoo / "hippocampus-unet/.2.unfinished/.parts"
    parts.mkdir(parents=True)
    (parts / sha256_of(registry / NETWORK[1:])).symlink_to("/dev/full")
    with pytest.raises(NoSpaceError, match="no room left on the disk while writing"):
        fetched()
    assert models(zoo) == []
    huge = re.escape(str(10**17)).encode()
    server.acts["/index.json"] = other_bytes(lambda data: re.sub(rb'("size": )\d+', rb"\g<1>" + huge, data))
    with pytest.raises(NoSpaceError, match=r"needs .* free in .*; make room"):
        fetched()
    assert models(zoo) == []


def test_of_two_that_fetch_the_same_the_second_says_so(server: WebServer, zoo: Path) -> None:
    added(server)
    server.acts[NETWORK] = slow(0.1, 5000)
    command = [sys.executable, "-m", "r2d2", "zoo", "pull", "hippocampus-unet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        while not any(path == NETWORK for path, _ in server.asked):
            assert first.poll() is None, first.communicate()
            time.sleep(0.02)
        with pytest.raises(ZooError, match=r"^hippocampus-unet:2 is being fetched by another process; wait until"):
            fetched()
        said = first.communicate(timeout=120)[1]
    assert first.returncode == 0, said
    assert not fetched().is_new
    assert [one.faults for one in verify_models()] == [()]


@pytest.mark.parametrize("is_same", [True, False])
def test_a_model_that_is_there_when_the_files_have_come_stays(
    server: WebServer, registry: Path, zoo: Path, tmp_path: Path, is_same: bool
) -> None:
    added(server)
    there = registry / "hippocampus-unet" / ("2" if is_same else "1")

    def another_is_quicker(handler: Handler, data: bytes, begin: int) -> bool:
        shutil.copytree(there, zoo / "hippocampus-unet/2")
        return False

    server.acts[NETWORK] = another_is_quicker
    if is_same:
        assert not fetched().is_new
    else:
        with pytest.raises(ZooError, match=r"hippocampus-unet:2 in the local zoo is not that of hospital"):
            fetched()
    assert filecmp.cmp(there / "model.keras", zoo / "hippocampus-unet/2/model.keras", shallow=False)
    assert sorted(path.name for path in (zoo / "hippocampus-unet").iterdir()) == ["2"]


def test_several_registries(server: WebServer, zoo: Path, tmp_path: Path) -> None:
    """The newest of all; where two differ the user says which; one that cannot be reached is no hindrance."""
    other = tmp_path / "other"
    for weights in (b"a", WEIGHTS + b"2", b"c"):
        add_model(other, "hippocampus-unet", weights)
    with pytest.raises(ZooError, match="can be fetched from nowhere: add a remote registry first"):
        fetched()
    added(server)
    add_registry(AddSettings(name="other", location=str(other)))
    assert fetched().name.version == 3
    with pytest.raises(ZooError, match=r"another model in each of hospital, other; choose one: --from hospital"):
        fetched("hippocampus-unet:1")
    assert pull(PullSettings(model="hippocampus-unet:1", registry="other")).is_new
    with pytest.raises(ZooError, match="no remote registry is called othr; there are hospital, other"):
        pull(PullSettings(model="nuclei", registry="othr"))
    with pytest.raises(ZooError, match=r"no hippocampus-unet:7 in hospital, other; there is hippocampus-unet:1, "):
        fetched("hippocampus-unet:7")
    with pytest.raises(ZooError, match=r"no model nucleus in hospital, other; did you mean nuclei\?"):
        fetched("nucleus")
    server.acts["/index.json"] = refusing(500)
    listing = list_models()
    assert {one.where for one in listing.models} == {("local",), ("local", "other"), ("other",)} - {("local",)}
    assert len(listing.faults) == 1 and "HTTP 500" in listing.faults[0]
    assert show_model("hippocampus-unet:2").where == "other"


def test_pins(server: WebServer, registry: Path, tmp_path: Path) -> None:
    """The index's own SHA-256; or a key, with signatures that OpenSSL made."""
    digest = hashlib.sha256((registry / "index.json").read_bytes()).hexdigest()
    with pytest.raises(
        ZooError, match=r"is not the pinned one; .*zoo add hospital http://127.* --pin sha256:" + digest
    ):
        added(server, pin="0" * 64)
    added(server, pin=f"sha256:{digest}")
    assert fetched("nuclei").is_new
    key, signature = tmp_path / "key.pem", registry / "index.json.sig"

    def openssl(*words: object) -> bytes:
        return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True).stdout

    def sign() -> None:
        openssl("pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", registry / "index.json", "-out", signature)

    openssl("genpkey", "-algorithm", "ed25519", "-out", key)
    public = openssl("pkey", "-in", key, "-pubout").decode().splitlines()[1]
    with pytest.raises(ZooError, match=r"is not signed \(index\.json\.sig is missing\)"):
        added(server, pin=f"ed25519:{public}")
    sign()
    added(server, pin=f"ed25519:{public}")
    add_model(registry, "nuclei", b"changed")
    with pytest.raises(ZooError, match="is not signed by the pinned key"):
        fetched("nuclei")
    sign()
    assert fetched("nuclei").name.version == 2
    with pytest.raises(ZooError, match="is no pin; give sha256:HEX"):
        added(server, pin="ed25519:AAAA")


def test_https_wants_a_certificate_that_is_trusted(
    registry: Path, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=zoo"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(own), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    own.write_bytes(own.read_bytes() + (tmp_path / "certificate.pem").read_bytes())
    with served(registry, own) as server, served(registry) as plain:
        with pytest.raises(
            ZooError, match=r"has no certificate that is trusted here \(.*self.signed.*REQUESTS_CA_BUND"
        ):
            added(server)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        added(server)
        assert fetched("nuclei").is_new
        server.acts[NETWORK] = moved(plain.address + NETWORK)
        with pytest.raises(ZooError, match=r"redirects from HTTPS to plain http://127\.0\.0\.1"):
            fetched()
        added(server, insecure=True)
        assert fetched().is_new


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://zoo.example.org/models", "anyone on the way can change what plain HTTP brings"),
        ("http://127.0.0.1.example.org/", "anyone on the way"),
        ("file:///srv/zoo", "a registry is a folder, or an address that begins with https://"),
        ("ftp://zoo.example.org", "a registry is a folder"),
        ("https://", "a registry is a folder"),
        ("https://me:secret@zoo.example.org/", r"^https://zoo.example.org/: an address has no name, password"),
        ("https://zoo.example.org:x/", "is no address"),
        ("https://zoo.example.org/?a=1", "no name, password"),
    ],
)
def test_addresses_that_nothing_is_fetched_from(zoo: Path, address: str, reason: str) -> None:
    with pytest.raises(ZooError, match=reason):
        add_registry(AddSettings(name="zoo", location=address))
    assert not zoo.exists()


def test_plain_http_to_this_machine_or_with_the_option() -> None:
    for address in ("http://127.0.0.1:8000/", "http://localhost/zoo", "http://[::1]:8000/"):
        check_address(address, is_insecure=False)
    check_address("http://zoo.example.org/", is_insecure=True)
