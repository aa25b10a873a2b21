"""Which links in code and layers are followed, and what each room then shows in their place."""

import os
from pathlib import Path

import pytest

from gateway.runtime import links
from gateway.runtime.launch import Link
from gateway.runtime.links import MOST_FOLLOWED, MOST_NESTED, Links, find_links, grants


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory with code in it that rooms do not hide."""
    monkeypatch.setattr(links, "is_hidden", lambda path: "hidden" in path)
    for name in ("code", "shared", "hidden", "first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "shared" / "module.py").write_text("")
    (tmp_path / "hidden" / "module.py").write_text("")
    return tmp_path


def look(base: Path, *layers: str, keep: tuple[str, ...] = ()) -> Links:
    return find_links(f"{base}/code", tuple(f"{base}/{layer}" for layer in layers), keep)


def link(base: Path, name: str, target: str) -> None:
    path = base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.format(base=base))


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [
        ("shared", "../shared", "shared"),
        ("module.py", "../shared/module.py", "shared/module.py"),
        ("deep/er/shared", "../../../shared", "shared"),
        ("round", "../code/../shared", "shared"),
        ("hidden", "{base}/hidden", "hidden"),
        ("hidden.py", "{base}/hidden/module.py", "hidden/module.py"),
        ("again", "../code/own", "code/own"),
    ],
)
def test_links_that_lead_out_are_followed(base: Path, name: str, text: str, target: str) -> None:
    (base / "code" / "own").mkdir()
    link(base, f"code/{name}", text)

    assert look(base) == Links((Link(name, (f"{base}/{target}",)),))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inside", "own"),
        ("deep/inside", "../own"),
        ("inside", "./own/../own"),
        ("visible", "{base}/shared"),
        ("gone", "../nowhere"),
        ("gone", "{base}/hidden/nowhere"),
        ("circle", "circle"),
        ("circle", "../code/circle"),
        (".#lock", "user@host.1234"),
    ],
)
def test_all_others_stay_what_they_are(base: Path, name: str, text: str) -> None:
    (base / "code" / "own").mkdir()
    link(base, f"code/{name}", text)

    assert look(base) == Links()


def test_absolute_link_to_what_an_interpreter_needs_stays(base: Path) -> None:
    link(base, "code/python", "{base}/hidden/module.py")

    assert look(base, keep=(f"{base}/hidden",)) == Links()


def test_link_through_a_followed_one_leads_to_its_target(base: Path) -> None:
    (base / "beside").mkdir()
    link(base, "code/shared", "../shared")
    link(base, "code/module.py", "shared/module.py")
    link(base, "code/crooked", "shared/../beside")

    found = {each.name: each.targets for each in look(base).code}
    assert found == {"shared": (f"{base}/shared",), "crooked": (f"{base}/beside",)}


def test_links_in_linked_directories_are_followed(base: Path) -> None:
    link(base, "code/shared", "../shared")
    link(base, "shared/more", "../more")
    link(base, "shared/inside", "module.py")
    link(base, "more/deepest/module.py", "../../hidden/module.py")

    inner = Link("deepest/module.py", (f"{base}/hidden/module.py",))
    more = Link("more", (f"{base}/more",), (inner,))
    assert look(base) == Links((Link("shared", (f"{base}/shared",), (more,)),))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("code/parent", ".."),
        ("code/self", "../code"),
        ("code/deep/self", "../../code"),
        ("code/root", "../../../../../../../../../.."),
        ("shared/back", "../shared/../code"),
        ("shared/itself", "../shared"),
    ],
)
def test_links_back_are_refused(base: Path, name: str, text: str) -> None:
    link(base, "code/shared", "../shared")
    link(base, name, text)

    found = look(base)
    assert (found.code, len(found.refused)) == ((Link("shared", (f"{base}/shared",)),), 1)
    target = os.path.realpath(base / name)
    assert found.refused[0].startswith(f"{base}/{name}: a link to {target} is not followed: it le")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/proc/self", "/proc is the machine's own"),
        ("/sys/kernel", "/sys is the machine's own"),
        ("/dev/null", "/dev is the machine's own"),
        ("/dev", "/dev is the machine's own"),
        ("/run", "/run is the machine's own"),
        ("/var/run", "/run is the machine's own"),
        ("/tmp", "each environment has of its own"),
        ("/opt", "each environment has of its own"),
    ],
)
def test_links_into_the_machine_are_refused(base: Path, text: str, why: str) -> None:
    if not Path(text).exists():
        pytest.skip(f"there is no {text} here")
    up = "../" * len(base.parts)
    link(base, "code/attack", f"{up}{text[1:]}")

    found = look(base)
    assert found.code == ()
    assert why in found.refused[0] or text == "/tmp"


def test_target_that_vanishes_meanwhile_is_not_followed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "elsewhere.py").touch()
    (base / "code" / "app.py").symlink_to("../elsewhere.py")
    realpath = os.path.realpath

    def vanishing(path: str, *, strict: bool) -> str:
        found = realpath(path, strict=strict)
        Path(found).unlink()
        return found

    monkeypatch.setattr(os.path, "realpath", vanishing)

    assert find_links(str(base / "code"), (), ()) == Links()


def test_sockets_and_pipes_are_refused(base: Path) -> None:
    os.mkfifo(base / "pipe")
    link(base, "code/pipe", "../pipe")

    assert "neither a file nor a directory" in look(base).refused[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make them")
def test_private_directories_of_other_users_are_refused(base: Path) -> None:
    private = base / "private"
    private.mkdir(mode=0o700)
    (private / "key").write_text("")
    link(base, "code/key", "../private/key")
    assert look(base).code

    os.chown(private, 4242, 4242)
    assert look(base).code == ()
    assert "the gateway's user may not read it" in look(base).refused[0]

    private.chmod(0o701)
    assert look(base).code


@pytest.mark.parametrize(
    ("mode", "owner", "expected"),
    [
        (0o700, (0, 0), True),
        (0o077, (0, 0), False),
        (0o040, (1, 0), True),
        (0o707, (1, 0), False),
        (0o004, (1, 1), True),
        (0o770, (1, 1), False),
    ],
)
def test_what_a_user_may_read_is_judged_without_privileges(
    base: Path, mode: int, owner: tuple[int, int], expected: bool
) -> None:
    path = base / "it"
    path.touch()
    path.chmod(mode)
    found = path.stat()

    assert grants(found, 4, found.st_uid + owner[0], {found.st_gid + owner[1]}) is expected


def test_number_of_followed_links_is_bounded(base: Path) -> None:
    for index in range(MOST_FOLLOWED + 2):
        link(base, f"code/{index}", "../shared/module.py")

    found = look(base)
    assert (len(found.code), len(found.refused)) == (MOST_FOLLOWED, 2)
    assert f"more than {MOST_FOLLOWED} links" in found.refused[0]


def test_number_of_files_that_are_looked_at_is_bounded(base: Path) -> None:
    (base / "code" / "many").mkdir()
    for index in range(20):
        (base / "code" / "many" / str(index)).touch()

    found = find_links(f"{base}/code", (), (), 10)
    assert found.refused == ("links behind 10 files are not followed",)


def test_depth_of_followed_links_is_bounded(base: Path) -> None:
    for index in range(MOST_NESTED + 5):
        (base / f"d{index}").mkdir()
        link(base, f"d{index}/next", f"../d{index + 1}")
    link(base, "code/next", "../d0")

    assert "behind too many others" in look(base).refused[0]


# Layers: later ones over earlier ones, directories merged.


def test_links_in_layers_are_followed(base: Path) -> None:
    link(base, "first/python", "../shared")
    link(base, "second/lib", "../hidden")

    python, lib = Link("python", (f"{base}/shared",)), Link("lib", (f"{base}/hidden",))
    assert look(base, "first", "second") == Links((), (lib, python))


def test_linked_directory_and_directory_of_another_layer_are_merged(base: Path) -> None:
    link(base, "first/python", "../shared")
    (base / "second" / "python").mkdir()
    link(base, "second/python/more.py", "../../hidden/module.py")

    more = Link("more.py", (f"{base}/hidden/module.py",))
    merged = Link("python", (f"{base}/shared", f"{base}/second/python"), (more,))
    assert look(base, "first", "second").layers == (merged,)
    assert look(base, "second", "first").layers == (
        Link("python", (f"{base}/second/python", f"{base}/shared"), (more,)),
    )


def test_file_of_a_later_layer_hides_a_link(base: Path) -> None:
    link(base, "first/it", "../shared")
    (base / "second" / "it").write_text("")
    assert look(base, "first", "second").layers == ()
    assert look(base, "second", "first").layers == (Link("it", (f"{base}/shared",)),)

    (base / "second" / "it").unlink()
    link(base, "second/it", "own")
    (base / "second" / "own").mkdir()
    assert look(base, "first", "second").layers == ()


def test_link_below_what_another_layer_has_as_a_link_is_found_in_that(base: Path) -> None:
    link(base, "first/python", "../shared")
    link(base, "second/python/lib", "../../hidden")

    lib = Link("lib", (f"{base}/hidden",))
    merged = Link("python", (f"{base}/shared", f"{base}/second/python"), (lib,))
    assert look(base, "first", "second").layers == (merged,)


def test_code_that_is_not_there_has_no_links(base: Path) -> None:
    assert find_links(f"{base}/nowhere", (), ()) == Links()
