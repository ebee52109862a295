"""The store of deployed models, without a service."""

import pytest

from batchyield.errors import ArtifactError, ConfigError
from batchyield.files import md5_of
from batchyield.serving.artifact import MODEL
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.rollout import rollback


class TestDesiredState:
    def test_default(self, tmp_path):
        """Without a file, the model of dvc.lock serves and there is no shadow."""
        store = ModelStore(tmp_path)
        assert store.desired() == DesiredState(0, None, None)
        assert store.desired_version() is None

    def test_version_changes(self, tmp_path):
        """Each write of the desired state changes its version."""
        store, versions = ModelStore(tmp_path), set()
        for revision in range(3):
            store.set_desired(DesiredState(revision))
            versions.add(store.desired_version())
        assert len(versions) == 3
        assert store.desired().revision == 2

    def test_earlier_format(self, tmp_path):
        """A file of an earlier format gives an error with the unknown field and the remedy."""
        (tmp_path / "desired.json").write_bytes(b'{"serial": 3}')
        with pytest.raises(
            ArtifactError, match=r"desired\.json: cannot be read: .*`serial`\n  .*batchyield deploy start"
        ):
            ModelStore(tmp_path).desired()


class TestAdd:
    def test_incomplete(self, tmp_path):
        """A model without one of its files is not added."""
        deployment = Deployment("a", {MODEL: "0" * 32}, "r", "v")
        with pytest.raises(ArtifactError, match=r"model\.onnx: cannot be read: No such file"):
            ModelStore(tmp_path / "store").add(tmp_path, deployment)

    def test_other_bytes(self, tmp_path):
        """Other bytes than pinned never get under the name of a model."""
        (tmp_path / MODEL).write_bytes(b"another model")
        store, workspace = ModelStore(tmp_path / "store"), Deployment(str(tmp_path), {MODEL: "0" * 32}, "r", "v")
        for put in (store.keep, lambda deployment: store.add(tmp_path, deployment)):
            with pytest.raises(ArtifactError, match=r"is not the pinned file"):
                put(workspace)
        assert not store.path(Deployment("", {}, "r", "v")).exists()

    def test_copy_of_the_workspace(self, tmp_path):
        """The workspace's model is kept once; later changes of the workspace do not reach the copy."""
        (tmp_path / MODEL).write_bytes(b"model")
        store, workspace = (
            ModelStore(tmp_path / "store"),
            Deployment(str(tmp_path), {MODEL: md5_of(b"model")}, "r", "v"),
        )
        copy = store.keep(workspace)
        (tmp_path / MODEL).write_bytes(b"another model")
        assert store.keep(workspace) == store.kept(workspace) == copy
        assert (store.path(copy) / MODEL).read_bytes() == b"model"


class TestRollback:
    def test_damaged(self, tmp_path):
        """A rollback passes over a model whose files are damaged, and names it."""
        store, deployments = ModelStore(tmp_path / "store"), []
        for content in (b"first", b"second"):
            (tmp_path / MODEL).write_bytes(content)
            deployments.append(store.add(tmp_path, Deployment(content.decode(), {MODEL: md5_of(content)}, "r", "v")))
        store.set_history(tuple(deployments))
        (store.path(deployments[1]) / MODEL).write_bytes(b"damaged")
        made = rollback(store, 0)
        assert (made.desired.serving, made.skipped, store.history()) == (deployments[0], (deployments[1],), ())

    def test_empty_history(self, tmp_path):
        """Without a previous deployment, the error names the command to use."""
        with pytest.raises(ConfigError, match=r"no record of a previous model\n  .*deploy rollback REVISION"):
            rollback(ModelStore(tmp_path), 0)
