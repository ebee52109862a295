"""`batchyield keys`: what it prints, what it leaves in the file, what it refuses."""

import json
import re
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyield.cli.__main__ import main
from batchyield.errors import ConfigError
from batchyield.serving.auth import api_keys
from batchyield.serving.auth.api_keys import SCOPES, ApiKey, encode_keys, hash_key, read_keys


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def key(path, capsys):
    def call(action, *arguments):
        code = main(["keys", action, *arguments, "--file", str(path)])
        message = capsys.readouterr()
        return code, message.out.strip(), message.err

    return call


def test_add_prints_the_key_and_keeps_its_hash(key, path):
    code, token, message = key("add", "line-3", "--scope", "predict,read", "--expires", "2100-01-01")
    assert code == 0
    assert re.fullmatch(r"byk_[\w-]{43}", token)
    assert token not in message
    assert token not in path.read_text()
    (held,) = read_keys(path)
    assert (held.name, held.scopes, held.sha256) == ("line-3", ("predict", "read"), hash_key(token.encode()))
    assert held.expires == datetime(2100, 1, 1, tzinfo=UTC)
    assert abs(datetime.now(UTC) - held.created) < timedelta(minutes=10)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_keeps_its_mode_and_its_link(key, path, tmp_path):
    real = tmp_path / "elsewhere"
    real.write_bytes(encode_keys([]))
    real.chmod(0o640)
    path.symlink_to(real)
    key("add", "a", "--scope", "read")
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [held.name for held in read_keys(real)] == ["a"]


def test_list_tells_names_scopes_and_ends(key, path):
    assert key("list")[:2] == (0, "no keys")
    key("add", "a", "--scope", "admin")
    key("add", "b", "--scope", "read", "--expires", "2100-01-01T12:00:00Z")
    _, text, _ = key("list")
    assert [line.split()[0] for line in text.splitlines()] == ["a", "b"]
    output = json.loads(key("list", "--json")[1])
    assert [(each["name"], each["scopes"], each["expires"]) for each in output] == [
        ("a", ["admin"], None),
        ("b", ["read"], "2100-01-01T12:00:00Z"),
    ]
    assert [each["id"] for each in output] == [key.id for key in read_keys(path)]


def test_rotate_leaves_the_old_key_for_its_grace(key, path):
    first = key("add", "a", "--scope", "predict")[1]
    code, second, message = key("rotate", "a", "--grace", "24h")
    older, newer = read_keys(path)
    assert code == 0
    assert (older.sha256, newer.sha256) == (hash_key(first.encode()), hash_key(second.encode()))
    assert (newer.name, newer.scopes, newer.expires) == ("a", ("predict",), None)
    assert abs(older.expires - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=10)
    assert f"keys revoke a --key {older.id}" in message
    key("rotate", "a", "--grace", "7d")
    assert read_keys(path)[0].expires == older.expires  # not longer than it had


def test_rotate_without_grace_leaves_the_old_key_until_it_is_revoked(key, path):
    key("add", "a", "--scope", "predict")
    key("rotate", "a")
    older, newer = read_keys(path)
    assert older.expires is None
    assert key("revoke", "a", "--key", older.id)[0] == 0
    assert read_keys(path) == [newer]
    assert key("revoke", "a")[0] == 0
    assert read_keys(path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "a b", "--scope", "read"), "name: expected 1 to 64"),
        (("add", "environment", "--scope", "read"), "BATCHYIELD_API_KEY"),
        (("add", "a", "--scope", "write"), "scopes: expected one or more of predict, outcomes, read, admin"),
        (("add", "taken", "--scope", "read"), "keys rotate taken"),
        (("revoke", "nobody"), "nobody has no key"),
        (("revoke", "taken", "--key", "zz"), "that begins with zz"),
        (("rotate", "nobody"), "nobody has no key"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(key, path, arguments, message):
    key("add", "taken", "--scope", "read")
    before = path.read_bytes()
    code, out, errors = key(*arguments)
    assert (code, out) == (2, "")
    assert message in errors
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [("add", "a", "--scope", "read", "--expires", "soon"), ("rotate", "a", "--grace", "1w")]
)
def test_a_wrong_option_is_refused_with_the_usage(key, arguments):
    with pytest.raises(SystemExit) as caught:
        key(*arguments)
    assert caught.value.code == 2


def test_a_malformed_file_stays_as_it_is(key, path):
    path.write_text('{"keys": [\n{"name" "a"}]}')
    code, out, errors = key("add", "a", "--scope", "read")
    assert (code, out) == (2, "")
    assert "line 2: JSON is malformed" in errors
    assert path.read_text() == '{"keys": [\n{"name" "a"}]}'


def test_the_file_may_be_said_by_the_environment(monkeypatch, path, capsys):
    monkeypatch.delenv("BATCHYIELD_API_KEYS_FILE", raising=False)
    assert main(["keys", "list"]) == 2
    assert "give --file, or set BATCHYIELD_API_KEYS_FILE" in capsys.readouterr().err
    monkeypatch.setenv("BATCHYIELD_API_KEYS_FILE", str(path))
    assert main(["keys", "list"]) == 0


def test_of_changes_at_the_same_time_none_is_lost(path):
    threads = [threading.Thread(target=api_keys.add_key, args=(path, f"k{n}", ["read"])) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in read_keys(path)} == {f"k{n}" for n in range(20)}
    trail = path.with_name("keys.audit")
    assert {*path.parent.iterdir()} == {path, trail}  # nothing else is left beside it
    assert len(trail.read_text().splitlines()) == 20


times = st.datetimes(timezones=st.just(UTC))
entries = st.builds(
    ApiKey,
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True).filter(lambda name: name != "environment"),
    st.lists(st.sampled_from(SCOPES), min_size=1, unique=True).map(tuple),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    times,
    st.none() | times,
)


@given(st.lists(entries, max_size=5, unique_by=lambda key: key.sha256))
def test_keys_survive_the_file(tmp_path_factory, held):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_bytes(encode_keys(held))
    assert read_keys(path) == held


@given(st.text())
def test_any_text_is_keys_or_a_refusal_that_repeats_no_secret(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    message = ""
    try:
        read_keys(path)
    except ConfigError as error:
        message = str(error)
    assert not [line for line in text.splitlines() if len(line) > 16 and line in message]


def test_audit_trail(key, path):
    """Each change of the keys leaves a line with who made it, when, and which key; no line holds a key."""
    _, token, _ = key("add", "line-3", "--scope", "predict", "--scope", "read")
    key("rotate", "line-3")
    key("revoke", "line-3")
    trail = path.with_name("keys.audit")
    lines = [json.loads(line) for line in trail.read_text().splitlines()]
    assert [(line["action"], line["name"]) for line in lines] == [
        ("keys add", "line-3"),
        ("keys rotate", "line-3"),
        ("keys revoke", "line-3"),
    ]
    assert lines[0]["added"].endswith(" predict+read")
    assert lines[2]["removed"].count("predict+read") == 2
    assert all(line["user"] and line["host"] and datetime.fromisoformat(line["time"]) for line in lines)
    assert token not in trail.read_text()
    assert stat.S_IMODE(trail.stat().st_mode) == 0o600


def test_audit_trail_is_needed(key, path):
    """A change that cannot be recorded is not made."""
    key("add", "line-3", "--scope", "predict")
    before = path.read_bytes()
    trail = path.with_name("keys.audit")
    trail.unlink()
    trail.mkdir()
    code, _, message = key("revoke", "line-3")
    assert (code, path.read_bytes()) == (2, before)
    assert "the audit trail" in message
