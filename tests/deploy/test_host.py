"""deploy/systemd and deploy/kubernetes: the unit by systemd's tools, the manifests by their schemas."""

import re
import shutil
import subprocess

import pytest
import yaml
from support.service import ROOT

from api.settings import VARIABLES

UNIT = ROOT / "deploy/systemd/batchyield.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
class TestUnit:
    def test_valid(self, tmp_path):
        """systemd knows each setting of the unit."""
        unit = tmp_path / UNIT.name
        unit.write_text(UNIT.read_text().replace("/opt/batchyield/.venv/bin/python", "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    def test_hardened(self):
        """systemd rates the exposure of the unit as low: below 2 of 10."""
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", UNIT]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-200:]


def test_unit_variables():
    """The unit sets only variables that the service reads."""
    named = set(re.findall(r"\b(BATCHYIELD_[A-Z_]+)=", UNIT.read_text()))
    assert named <= set(VARIABLES)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """What kustomize makes of deploy/kubernetes and its migration, with secrets in place."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    root = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(ROOT / "deploy/kubernetes", root, ignore=shutil.ignore_patterns("secrets"))
    documents = []
    for folder in (root, root / "migration"):
        (folder / "secrets").mkdir()
        for name in ("api_keys", "journal_url", "metrics_key"):
            (folder / "secrets" / name).write_text("x")
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        documents += yaml.safe_load_all(done.stdout)
    return documents


def of_kind(manifests, kind):
    (found,) = (document for document in manifests if document["kind"] == kind)
    return found


class TestManifests:
    def test_schemas(self, manifests):
        """Each manifest has only valid fields of its schema; there is none for the ServiceMonitor here."""
        schemas = pytest.importorskip("kubernetes_validate")
        for manifest in manifests:
            if manifest["kind"] != "ServiceMonitor":
                schemas.validate(manifest, "1.33", strict=True)

    def test_policy(self, manifests):
        """Each container is limited, without privileges and on a read-only root; its variables are settings."""
        for kind in ("Deployment", "Job"):
            pod = of_kind(manifests, kind)["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["image"] == "registry.example/batchyield:unreleased"
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert pod["securityContext"]["runAsNonRoot"]
            ours = {variable["name"] for variable in container["env"] if variable["name"].startswith("BATCHYIELD_")}
            assert ours <= set(VARIABLES)

    def test_selectors(self, manifests):
        """Service, budget and autoscaler select the pods of the deployment; Secrets are the generated ones."""
        deployment = of_kind(manifests, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        assert of_kind(manifests, "Service")["spec"]["selector"].items() <= labels
        assert of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
        target = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        assert target["name"] == deployment["metadata"]["name"]
        secrets = {document["metadata"]["name"] for document in manifests if document["kind"] == "Secret"}
        assert deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] in secrets
        credentials = of_kind(manifests, "ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"]
        assert credentials["name"] in secrets
