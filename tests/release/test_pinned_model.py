"""The model of any revision, fetched from the DVC cache or from a real S3 storage."""

import hashlib
import json
import shutil

import pytest
from support.commands import ROOT
from support.scratch_repository import cache, commit
from support.service import linear_onnx, make_checkout

from batchyield.errors import ArtifactError, RevisionError, StorageError
from batchyield.release.pinned_model import fetch_model
from batchyield.serving.artifact import FILES, MODEL, open_artifact
from batchyield.versioning.git import git
from batchyield.versioning.storage import embedded_s3, remotes, s3_objects
from batchyield.versioning.storage.content_store import cache_path


@pytest.fixture
def history(tmp_path):
    """A checkout with two commits, a model each, and both in the DVC cache: (root, first, second)."""
    root = tmp_path / "checkout"
    (root / ".dvc").mkdir(parents=True)
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    (root / ".gitignore").write_text("data/\n.cache/\n.s3/\n.dvc/cache/\n.dvc/config.local\n.serving/\n")
    git("init", "-q", "-b", "main", cwd=root)
    made = []
    for constant in (0.5, 0.5625):
        make_checkout(root, linear_onnx(constant))
        cache(root)
        made.append(commit(root, f"the model {constant}"))
    return root, *made


def pins_of(folder):
    return json.loads((folder / "pins.json").read_text())


class TestFetchModel:
    def test_from_cache(self, history):
        """Each revision gives its own model, from the cache alone."""
        root, first, second = history
        git("tag", "v0.9.0", first, cwd=root)
        git("tag", "line@v1.10.0", second, cwd=root)
        git("tag", "line@v1.9.0", second, cwd=root)
        git("tag", "line#prod#1", second, cwd=root)
        folders = {name: fetch_model(name, root) for name in ("HEAD~1", first[:9], "HEAD", "line@v1.9.0")}
        assert folders["HEAD~1"] == folders[first[:9]] != folders["HEAD"] == folders["line@v1.9.0"]
        for revision, version, folder in (
            (first, "0.9.0", folders["HEAD~1"]),
            (second, "1.10.0", folders["HEAD"]),
        ):
            pins = pins_of(folder)
            assert folder == root / ".cache/models" / pins[MODEL]
            assert (pins["revision"], pins["version"]) == (revision, version)
            assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "pins.json"])
            for name in FILES:
                assert hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() == pins[name]
        assert not (root / ".s3").exists(), "an offline checkout with its cache starts no server"

    def test_used_again(self, history):
        """An intact folder of an earlier call is used again."""
        root, first, _ = history
        folder = fetch_model(first, root)
        before = {path.name: path.stat().st_ino for path in folder.iterdir() if path.name != "pins.json"}
        shutil.rmtree(root / ".dvc/cache")
        assert fetch_model(first, root) == folder
        assert {path.name: path.stat().st_ino for path in folder.iterdir() if path.name != "pins.json"} == before

    def test_damaged_folder(self, history):
        """A damaged file is fetched again."""
        root, first, _ = history
        whole = (fetch_model(first, root) / MODEL).read_bytes()
        (fetch_model(first, root) / MODEL).write_bytes(whole[:-1])
        assert (fetch_model(first, root) / MODEL).read_bytes() == whole

    def test_same_model_other_card(self, history):
        """Two pins with one model but two cards have two folders."""
        root, _, second = history
        make_checkout(root, linear_onnx(0.5625), metrics={"mse": 0.002})
        cache(root)
        third = commit(root, "measured again")
        for revision, mse in ((second, 0.001), (third, 0.002), (second, 0.001)):
            card = json.loads((fetch_model(revision, root) / "card.json").read_text())
            assert card["metrics"] == {"mse": mse}

    def test_from_storage(self, history, tmp_path):
        """Files that the cache lacks come from the storage, and their md5 is compared."""
        root, first, second = history
        server = remotes.embedded_server(embedded_s3.free_port(), root)
        with embedded_s3.running(server):
            remote = remotes.s3_client("storage", root)
            for name, pin in pins_of(fetch_model(first, root)).items():
                if name in FILES:
                    data = cache_path(root, pin).read_bytes()
                    remote.client.put_object(Bucket=remote.bucket, Key=s3_objects.storage_key(remote, pin), Body=data)
            clone = tmp_path / "clone"
            git("clone", "-q", str(root), str(clone), cwd=tmp_path)
            remotes.copy_remotes(root, clone)
            damaged = cache_path(clone, pins_of(fetch_model(first, root))[MODEL])
            damaged.parent.mkdir(parents=True)
            damaged.write_bytes(b"what a cache holds is not believed")
            folder = fetch_model(first, clone)
            # the fixtures' golden rows are those of the model 0.5
            assert open_artifact(folder, pins_of(folder)).md5 == folder.name

            with pytest.raises(StorageError, match=r"(?s)lacks model\.onnx.*has no model\.onnx.*`dvc push`"):
                fetch_model(second, clone)

            shutil.rmtree(folder)
            pin = pins_of(fetch_model(first, root))[MODEL]
            remote.client.put_object(Bucket=remote.bucket, Key=s3_objects.storage_key(remote, pin), Body=b"other bytes")
            with pytest.raises(ArtifactError, match=r"is not the pinned model\.onnx"):
                fetch_model(first, clone)
            assert not folder.exists()
            assert list((clone / ".cache/models").iterdir()) == []

    def test_no_model(self, history):
        """An unknown revision, or one without a model, is rejected."""
        root, *_ = history
        with pytest.raises(RevisionError, match=r"no-such-branch' is not a revision.*\n.*git fetch --all --tags"):
            fetch_model("no-such-branch", root)
        (root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
        commit(root, "nothing is pinned")
        with pytest.raises(RevisionError, match=r"pins no data/model/model\.onnx"):
            fetch_model("HEAD", root)
