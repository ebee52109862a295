import subprocess

import msgspec
import pytest
from support.service import ROOT

from api.settings import VARIABLES, Settings, git_revision, read_settings, unknown_variables
from batchyield.errors import ConfigError

REVISION = {"BATCHYIELD_REVISION": "abc"}


def git(root, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    return tmp_path


def test_defaults():
    """An empty environment gives the defaults."""
    settings = read_settings({})
    assert settings.model_version == "unreleased"
    assert settings.max_body_bytes == 16 * 2**20
    assert settings.lock_path.name == "dvc.lock"
    assert settings.model_directory == settings.lock_path.parent / "data" / "model"
    assert settings.revision


def test_variables():
    """Each field is read from its variable."""
    settings = read_settings(REVISION | {"BATCHYIELD_MAX_BODY_BYTES": "2048", "BATCHYIELD_BODY_SECONDS": "1.5"})
    assert (settings.max_body_bytes, settings.body_seconds, settings.revision) == (2048, 1.5, "abc")
    assert len(VARIABLES) == len(Settings.__struct_fields__)


def test_model_directory():
    """BATCHYIELD_MODEL_DIR sets the model directory."""
    assert read_settings(REVISION | {"BATCHYIELD_MODEL_DIR": "other/model"}).model_directory.parts == ("other", "model")


def test_empty_variable():
    """An empty variable counts as unset."""
    assert read_settings(REVISION | {"BATCHYIELD_MAX_BODY_BYTES": ""}).max_body_bytes == 16 * 2**20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCHYIELD_MAX_BODY_BYTES", "16 MiB"),
        ("BATCHYIELD_MAX_BODY_BYTES", "-1"),
        ("BATCHYIELD_BODY_SECONDS", "0"),
        ("BATCHYIELD_BULK_SLOTS", "0"),
        ("BATCHYIELD_MODEL_VERSION", "v1\r\nSet-Cookie: a=b"),
        ("BATCHYIELD_REVISION", "a b"),
    ],
)
def test_invalid_value(name, value):
    """An invalid value is refused by the name of its variable."""
    with pytest.raises(ConfigError, match=f"^{name}: "):
        read_settings({name: value})


def test_other_variables():
    """Variables of other parts of the project are accepted."""
    assert read_settings(REVISION | {"BATCHYIELD_REAL_DATA": "/somewhere"}).revision == "abc"


def test_unknown_variable():
    """An unknown variable is reported with the closest known one."""
    known = ("BATCHYIELD_JOURNAL", "BATCHYIELD_URL", "BATCHYIELD_BUCKET", "BATCHYIELD_ENGINE")
    environment = dict.fromkeys((*known, "BATCHYIELD_JURNAL", "BATCHYIELD_ZZZ"), "x")
    assert unknown_variables(environment) == [
        "unknown environment variable BATCHYIELD_JURNAL; did you mean BATCHYIELD_JOURNAL?",
        "unknown environment variable BATCHYIELD_ZZZ; docs/api.md lists the known ones",
    ]


def test_revision(repository, tmp_path_factory):
    """The revision is the checked-out commit, also in a worktree."""
    assert git_revision(repository) == git(repository, "rev-parse", "HEAD")
    other = tmp_path_factory.mktemp("trees") / "other"
    git(repository, "worktree", "add", "-q", "-b", "feature/other", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "two")
    assert git_revision(other) == git(other, "rev-parse", "HEAD") != git_revision(repository)


def test_no_revision(repository, monkeypatch):
    """Outside a repository there is no revision."""
    (repository / "folder").mkdir()
    assert git_revision(repository / "folder") is None  # not the one of the repository around it
    (repository / ".git/HEAD").write_text("ref: refs/heads/unborn\n")
    assert git_revision(repository) is None
    monkeypatch.setenv("PATH", "")
    assert git_revision(repository) is None
    assert read_settings({"BATCHYIELD_LOCK": str(repository / "dvc.lock")}).revision == "unknown"


def test_documented_defaults():
    """The documentation lists each variable with its default."""
    lines = {
        name: line
        for line in (ROOT / "docs/api.md").read_text().splitlines()
        if line.startswith("| `BATCHYIELD_") and (name := line.split("`")[1])
    }
    assert set(lines) == set(VARIABLES)
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.default, int | float):
            assert lines[field.encode_name].split("|")[2].strip() == f"{field.default:.0f}"
