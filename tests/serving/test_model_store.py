"""The store of deployed models, without a service."""

import pytest

from batchyield.errors import ArtifactError, ConfigError
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
        with pytest.raises(ArtifactError, match=r"is incomplete: .*model\.onnx: No such file"):
            ModelStore(tmp_path / "store").add(tmp_path, deployment)


class TestRollback:
    def test_empty_history(self, tmp_path):
        """Without a previous deployment, the error names the command to use."""
        with pytest.raises(ConfigError, match=r"no record of a previous model\n  .*deploy rollback REVISION"):
            rollback(ModelStore(tmp_path), 0)
