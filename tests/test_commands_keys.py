"""`batchyield key`: what it prints, what it leaves in the file, what it refuses."""

import json
import re
import stat
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyield import keyfile
from batchyield.cli import main
from batchyield.errors import SetupError
from batchyield.keys import SCOPES, Key, digest, parse, seconds_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def key(path, capsys):
    def call(action, *arguments):
        code = main(["key", action, *arguments, "--file", str(path)])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err

    return call


def found(path):
    return parse(path.read_text(), str(path))


def test_add_prints_the_key_and_keeps_its_hash(key, path):
    code, token, said = key("add", "line-3", "--scope", "predict,read", "--expires", "2100-01-01")
    assert code == 0
    assert re.fullmatch(r"byk_[\w-]{43}", token)
    assert token not in said
    assert token not in path.read_text()
    assert found(path) == [
        Key("line-3", frozenset({"predict", "read"}), digest(token.encode()), seconds_of("2100-01-01"))
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_keeps_its_mode_its_comments_and_its_link(key, path, tmp_path):
    real = tmp_path / "elsewhere"
    real.write_text("# of the plant\n\n")
    real.chmod(0o640)
    path.symlink_to(real)
    key("add", "a", "--scope", "read")
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.read_text().startswith("# of the plant\n\na read sha256:")


def test_list_tells_names_scopes_and_ends(key, path):
    assert key("list")[:2] == (0, "no keys")
    key("add", "a", "--scope", "admin")
    key("add", "b", "--scope", "read", "--expires", "2100-01-01T12:00:00Z")
    _, text, _ = key("list")
    assert [line.split()[0] for line in text.splitlines()] == ["a", "b"]
    told = json.loads(key("list", "--json")[1])
    assert [(each["name"], each["scopes"], each["expires"]) for each in told] == [
        ("a", ["admin"], None),
        ("b", ["read"], "2100-01-01T12:00:00Z"),
    ]
    assert [each["id"] for each in told] == [key.id for key in found(path)]


def test_rotate_leaves_the_old_key_for_its_grace(key, path):
    first = key("add", "a", "--scope", "predict")[1]
    code, second, said = key("rotate", "a", "--grace", "24h")
    older, newer = found(path)
    assert code == 0
    assert (older.digest, newer.digest) == (digest(first.encode()), digest(second.encode()))
    assert newer == Key("a", frozenset({"predict"}), newer.digest)
    assert older.expires == pytest.approx(time.time() + 86400, abs=60)
    assert f"key revoke a --key {older.id}" in said
    key("rotate", "a", "--grace", "7d")
    assert found(path)[0].expires == older.expires  # not longer than it had


def test_rotate_without_grace_leaves_the_old_key_until_it_is_revoked(key, path):
    key("add", "a", "--scope", "predict")
    key("rotate", "a")
    older, newer = found(path)
    assert older.expires is None
    assert key("revoke", "a", "--key", older.id)[0] == 0
    assert found(path) == [newer]
    assert key("revoke", "a")[0] == 0
    assert found(path) == []


def test_hash_keeps_keys_that_stood_in_plain(key, path):
    path.write_text(f"# ours\n{'k' * 32}  # line 1\n")
    assert key("list")[0] == 2
    assert key("hash")[0] == 0
    assert found(path) == [Key("line-2", frozenset(SCOPES), digest(b"k" * 32))]
    assert "# ours" in path.read_text()
    assert "# line 1" in path.read_text()
    assert "kkkk" not in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "a b", "--scope", "read"), "is no name"),
        (("add", "environment", "--scope", "read"), "BATCHYIELD_API_KEY"),
        (("add", "a", "--scope", "write"), "'write' is no scope; there are predict, read, admin"),
        (("add", "taken", "--scope", "read"), "key rotate taken"),
        (("revoke", "nobody"), "nobody has no key"),
        (("revoke", "taken", "--key", "zz"), "that begins with zz"),
        (("rotate", "nobody"), "nobody has no key"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(key, path, arguments, said):
    key("add", "taken", "--scope", "read")
    before = path.read_bytes()
    code, out, errors = key(*arguments)
    assert (code, out) == (2, "")
    assert said in errors
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [("add", "a", "--scope", "read", "--expires", "soon"), ("rotate", "a", "--grace", "1w")]
)
def test_a_wrong_option_is_refused_with_the_usage(key, arguments):
    with pytest.raises(SystemExit) as caught:
        key(*arguments)
    assert caught.value.code == 2


def test_short_plain_keys_are_refused(path):
    path.write_text("short\n")
    with pytest.raises(SetupError, match="5 characters"):
        keyfile.hash_plain(path)
    assert path.read_text() == "short\n"


def test_the_file_may_be_said_by_the_environment(monkeypatch, path, capsys):
    monkeypatch.delenv("BATCHYIELD_API_KEYS_FILE", raising=False)
    assert main(["key", "list"]) == 2
    assert "give --file, or set BATCHYIELD_API_KEYS_FILE" in capsys.readouterr().err
    monkeypatch.setenv("BATCHYIELD_API_KEYS_FILE", str(path))
    assert main(["key", "list"]) == 0


def test_of_changes_at_the_same_time_none_is_lost(path):
    threads = [threading.Thread(target=keyfile.add, args=(path, f"k{n}", "read")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in found(path)} == {f"k{n}" for n in range(20)}
    assert [*path.parent.iterdir()] == [path]  # nothing is left beside it


keys = st.builds(
    Key,
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True).filter(lambda name: name != "environment"),
    st.frozensets(st.sampled_from(SCOPES), min_size=1),
    st.binary(min_size=32, max_size=32),
    st.none() | st.integers(0, 4_000_000_000).map(float),
)


@given(st.lists(keys, max_size=5, unique_by=lambda key: key.digest), st.text("# \t", max_size=3))
def test_keys_survive_the_file(given_keys, noise):
    assert parse("\n".join(f"{key.line()} #{noise}" for key in given_keys), "keys") == given_keys


@given(st.text())
def test_any_text_is_keys_or_a_refusal_that_repeats_no_secret(text):
    said = ""
    try:
        parse(text, "keys")
    except SetupError as error:
        said = str(error)
    assert not [line for line in text.splitlines() if len(line) > 16 and line in said]
