import json
import os
import subprocess
import sys
from pathlib import Path

import moto.ecs.models
import pytest
import yaml
from aws_fixtures import ACCOUNT, REGION, account, api
from conftest import run
from journal_fixtures import opened
from moto.core import DEFAULT_ACCOUNT_ID

from batchyield import keys as api_keys
from batchyield.aws import stage
from batchyield.aws.calls import client, told
from batchyield.aws.cloud import cloud
from batchyield.cli import main
from batchyield.errors import SetupError

__all__ = ["account"]  # a fixture

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = sorted((ROOT / "deploy/aws").glob("*.yaml"))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Loader(yaml.SafeLoader):
    pass


def tagged(loader, suffix, node):
    made = loader.construct_mapping(node, True) if isinstance(node, yaml.MappingNode) else None
    if made is None:
        made = loader.construct_sequence(node, True) if isinstance(node, yaml.SequenceNode) else node.value
    return {suffix: made}


Loader.add_multi_constructor("!", tagged)


def resources(kind):
    for file in TEMPLATES:
        for name, resource in yaml.load(file.read_text(), Loader)["Resources"].items():  # noqa: S506 - our own, safe one
            if resource["Type"] == kind:
                yield f"{file.stem}.{name}", resource["Properties"]


WITHOUT_RESOURCE = {  # what AWS documents as taking no narrower one
    "ecr:GetAuthorizationToken",
    "ecs:RegisterTaskDefinition",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "cloudformation:GetTemplateSummary",
}


def test_no_role_may_do_everything_or_touch_everything():
    roles = dict(resources("AWS::IAM::Role"))
    assert len(roles) == 4
    for properties in roles.values():
        for policy in properties["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                actions = {actions} if isinstance(actions, str) else set(actions)
                assert not any("*" in action for action in actions)
                assert statement["Resource"] != "*" or actions <= WITHOUT_RESOURCE, actions
        assert "ManagedPolicyArns" not in properties


def test_a_deployment_goes_back_by_itself():
    asked = dict(resources("AWS::ECS::Service"))["service.Service"]["DeploymentConfiguration"]
    assert asked["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    names = [name["Sub"] for name in asked["Alarms"].pop("AlarmNames")]
    assert asked["Alarms"] == {"Enable": True, "Rollback": True}
    known = {properties["AlarmName"]["Sub"] for _, properties in resources("AWS::CloudWatch::Alarm")}
    assert set(names) <= known


def test_a_workflow_assumes_a_role_only_from_this_repository_and_for_what_the_role_is():
    for name, properties in resources("AWS::IAM::Role"):
        (statement,) = properties["AssumeRolePolicyDocument"]["Statement"]
        if statement["Action"] == "sts:AssumeRole":
            continue
        says = json.dumps(statement["Condition"])
        assert '"sts.amazonaws.com"' in says
        assert "repo:${Repository}:" in says
        assert "repo:${Repository}:*" not in says
        assert ("environment:${Stage}" in says) == (name == "platform.DeployRole")


@pytest.fixture
def said():
    return []


@pytest.fixture
def aws(account, said, monkeypatch):
    """An account with the foundation and images of two versions."""
    monkeypatch.chdir(ROOT)
    assert ACCOUNT == DEFAULT_ACCOUNT_ID
    made = cloud(said.append, poll=0.001)
    stage.foundation(made, "acme/batchyield")
    for number, version in enumerate(("1.2.0", "1.3.0")):
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [{"digest": f"sha256:{number:064x}"}]}
        )
        made.ecr.put_image(
            repositoryName="batchyield", imageManifest=manifest, imageManifestMediaType=MANIFEST, imageTag=version
        )
    return made


@pytest.fixture
def certificate(account):
    return api("acm").request_certificate(DomainName="yield.example.org")["CertificateArn"]


def test_a_stage_is_made_and_serves_what_is_deployed(aws, said, certificate):
    made = stage.up(aws, "staging", {"Certificate": certificate})
    assert stage.state(aws, "staging") == stage.State("staging", made["Address"])

    assert api("s3").get_bucket_versioning(Bucket=made["DataBucket"])["Status"] == "Enabled"
    assert "SecureTransport" in api("s3").get_bucket_policy(Bucket=made["DataBucket"])["Policy"]
    (database,) = api("rds").describe_db_instances()["DBInstances"]
    assert (database["StorageEncrypted"], database["PubliclyAccessible"], database["MultiAZ"]) == (True, False, True)
    assert database["DeletionProtection"]
    alarms = {alarm["AlarmName"] for alarm in api("cloudwatch").describe_alarms()["MetricAlarms"]}
    assert {"batchyield-staging-failing", "batchyield-staging-slow"} <= alarms
    balancer = api("elbv2").describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    listeners = api("elbv2").describe_listeners(LoadBalancerArn=balancer)
    assert {(one["Port"], one["DefaultActions"][0]["Type"]) for one in listeners["Listeners"]} == {
        (443, "forward"),
        (80, "redirect"),
    }

    assert stage.deploy(aws, "staging", "1.2.0")
    assert "journal: up to date" in said
    assert stage.state(aws, "staging").version == "1.2.0"
    before = aws.ecs.describe_task_definition(taskDefinition="batchyield-staging")["taskDefinition"]
    api_container = next(one for one in before["containerDefinitions"] if one["name"] == "api")
    assert "@sha256:" in api_container["image"]
    assert api_container["user"] == "10001:10001"
    assert api_container["readonlyRootFilesystem"]
    assert "PGPASSWORD" in {secret["name"] for secret in api_container["secrets"]}
    assert not [one for one in api_container["environment"] if "password" in json.dumps(one).lower()]

    network = api("ec2").describe_security_groups()["SecurityGroups"]
    assert stage.deploy(aws, "staging", "1.3.0")
    after = aws.ecs.describe_task_definition(taskDefinition="batchyield-staging")["taskDefinition"]
    assert after["revision"] == before["revision"] + 1
    told = {
        one["ParameterKey"]: one["ParameterValue"]
        for one in aws.stacks.find("batchyield-staging-service")["Parameters"]
    }
    assert told["Image"] == stage.image_of(aws, "1.3.0") != stage.image_of(aws, "1.2.0")
    assert api("ec2").describe_security_groups()["SecurityGroups"] == network
    assert stage.state(aws, "staging").version == "1.3.0"


def test_what_is_set_once_stays(aws, certificate):
    stage.up(aws, "staging", {"Certificate": certificate, "SlowSeconds": "2", "DatabaseInTwoZones": "false"})
    stage.deploy(aws, "staging", "1.2.0", {"MostTasks": "9"})
    stage.up(aws, "staging", {})
    stage.deploy(aws, "staging", "1.3.0")
    (target,) = api("application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 9)
    (slow,) = api("cloudwatch").describe_alarms(AlarmNames=["batchyield-staging-slow"])["MetricAlarms"]
    assert slow["Threshold"] == 2


def test_a_dry_run_tells_and_makes_nothing(aws, said, certificate):
    stage.up(aws, "dev", {"Certificate": certificate}, dry_run=True)
    assert any("would add      Network (AWS::EC2::VPC)" in line for line in said)
    assert aws.stacks.find("batchyield-dev-network") is None
    stage.up(aws, "dev", {"Certificate": certificate})
    assert stage.deploy(aws, "dev", "1.2.0", dry_run=True)
    assert stage.state(aws, "dev").version == ""


def test_a_migration_that_fails_leaves_the_service_as_it_was(aws, certificate, monkeypatch):
    stage.up(aws, "staging", {"Certificate": certificate})
    stage.deploy(aws, "staging", "1.2.0")
    known = moto.ecs.models.Container.__init__

    def failing(made, *given, **named):
        known(made, *given, **named)
        made.exitCode = 3

    monkeypatch.setattr(moto.ecs.models.Container, "__init__", failing)
    with pytest.raises(SetupError, match=r"migration ended with 3.*\n  the service is as it was"):
        stage.deploy(aws, "staging", "1.3.0")
    assert stage.state(aws, "staging").version == "1.2.0"


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda aws: stage.deploy(aws, "staging", "9.9.9"), "no batchyield:9.9.9\n.*make image"),
        (lambda aws: stage.deploy(aws, "staging", "1.2.0"), "no stack batchyield-staging-network.*\n.*deploy-aws.md"),
        (lambda aws: stage.up(aws, "staging", {"MostTask": "3"}), "no template has a parameter MostTask"),
        (lambda aws: stage.deploy(aws, "staging", "1.2.0", {"MostTask": "3"}), "no template has a parameter MostTask"),
        (lambda aws: stage.state(aws, "prod"), "no stack batchyield-prod-platform"),
    ],
)
def test_a_refusal_says_what_to_do(aws, attempt, message):
    with pytest.raises(SetupError, match=message):
        attempt(aws)


def test_a_stack_that_was_never_made_whole_is_not_touched(aws, certificate, monkeypatch):
    found = aws.stacks.find("batchyield-foundation")
    monkeypatch.setattr(type(aws.stacks), "find", lambda *_: found | {"StackStatus": "ROLLBACK_COMPLETE"})
    with pytest.raises(SetupError, match="never made whole\n  `aws cloudformation delete-stack"):
        stage.foundation(aws, "acme/other")


def test_keys_reach_the_secret_and_new_tasks_take_them(aws, said, certificate, tmp_path):
    stage.up(aws, "staging", {"Certificate": certificate})
    stage.deploy(aws, "staging", "1.2.0")
    file = tmp_path / "api_keys"
    token = api_keys.add(file, "line-3", ["predict"])
    stage.keys(aws, "staging", file)
    secret = aws.secrets.get_secret_value(SecretId="batchyield/staging/api-keys")["SecretString"]
    assert "line-3" in secret
    assert token not in secret
    assert "new tasks with these keys replace those that run" in said
    (tmp_path / "empty").write_text('{"keys": []}')
    with pytest.raises(SetupError, match="holds no key"):
        stage.keys(aws, "staging", tmp_path / "empty")


def test_the_commands(account, certificate, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert main(["aws", "foundation", "acme/batchyield"]) == 0
    assert "StorageRole=arn:aws:iam" in capsys.readouterr().out
    assert main(["aws", "up", "prod", "--certificate", certificate, "--set", "FewestTasks=3"]) == 0
    assert f"DeployRole=arn:aws:iam::{ACCOUNT}:role/batchyield-prod-deploy" in capsys.readouterr().out
    assert main(["aws", "status", "prod"]) == 1
    assert "nothing is deployed yet" in capsys.readouterr().out
    assert main(["aws", "deploy", "prod", "1.2.0"]) == 2
    assert "no batchyield:1.2.0" in capsys.readouterr().err


def test_without_keys_or_region_it_says_so(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SetupError, match="no region of AWS is named\n  set AWS_REGION"), told():
        client("ecs")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with pytest.raises(SetupError, match="Unable to locate credentials\n  `aws sso login`"), told():
        client("ecs").list_clusters()


def test_the_journal_is_opened_by_the_password_that_stands_beside_its_url(postgres_server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "from the secret")
    with opened(postgres_server.get_uri()) as store, store.reading() as connection:
        assert connection.connection.driver_connection.info.password == "from the secret"
        assert connection.exec_driver_sql("select 1").scalar() == 1


def test_the_keys_container_writes_what_the_service_reads(tmp_path):
    service = dict(resources("AWS::ECS::TaskDefinition"))["service.Task"]
    (keys,) = [one for one in service["ContainerDefinitions"] if one["Name"] == "keys"]
    (command,) = keys["Command"]
    file = tmp_path / "source"
    api_keys.add(file, "line-3", ["predict"])
    subprocess.run(
        ["sh", "-c", command.replace("/var/lib/batchyield/keys", str(tmp_path))],
        env={"API_KEYS": file.read_text(), "PATH": os.environ["PATH"]},
        check=True,
    )
    assert [key.name for key in api_keys.read_keys(tmp_path / "api_keys")] == ["line-3"]
    assert (tmp_path / "api_keys").stat().st_mode & 0o077 == 0


def test_help_of_every_action():
    for action in ("foundation", "up", "deploy", "keys", "status"):
        done = run(sys.executable, "-m", "batchyield.cli", "aws", action, "--help", cwd=ROOT)
        assert "usage: batchyield aws" in done.stdout
