"""The templates of deploy/aws, and deploy.sh, which the AWS CLI runs against moto's server."""

import json
import os
import re
import subprocess

import moto.ecs.models
import msgspec
import pytest
import yaml
from support.aws import ACCOUNT, account, api, awscli, server
from support.commands import ROOT, run
from support.journal_database import opened

from api.telemetry.access_log import RequestLine
from batchyield.serving.auth import api_keys

__all__ = ["account", "awscli", "server"]  # fixtures

TEMPLATES = sorted((ROOT / "deploy/aws").glob("*.yaml"))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Loader(yaml.CSafeLoader):
    pass


def tagged(loader, suffix, node):
    arguments = loader.construct_mapping(node, True) if isinstance(node, yaml.MappingNode) else None
    if arguments is None:
        arguments = loader.construct_sequence(node, True) if isinstance(node, yaml.SequenceNode) else node.value
    return {suffix: arguments}


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


def test_role_policies():
    """No role has wildcard actions or needless wildcard resources."""
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


def test_automatic_rollback():
    """A failed deployment is rolled back by the circuit breaker or its alarms."""
    configuration = dict(resources("AWS::ECS::Service"))["service.Service"]["DeploymentConfiguration"]
    assert configuration["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    names = [name["Sub"] for name in configuration["Alarms"].pop("AlarmNames")]
    assert configuration["Alarms"] == {"Enable": True, "Rollback": True}
    known = {properties["AlarmName"]["Sub"] for _, properties in resources("AWS::CloudWatch::Alarm")}
    assert set(names) <= known


def test_role_trust():
    """Roles trust only workflows of this repository, each for its purpose."""
    for name, properties in resources("AWS::IAM::Role"):
        (statement,) = properties["AssumeRolePolicyDocument"]["Statement"]
        if statement["Action"] == "sts:AssumeRole":
            continue
        condition = json.dumps(statement["Condition"])
        assert '"sts.amazonaws.com"' in condition
        assert "repo:${Repository}:" in condition
        assert "repo:${Repository}:*" not in condition
        assert ("environment:${Environment}" in condition) == (name == "platform.DeployRole")


def test_slow_requests():
    """The alarm for slow requests counts lines of the log of few batches, by fields that the log has."""
    ((_, metric),) = resources("AWS::Logs::MetricFilter")
    fields = {field.name for field in msgspec.structs.fields(RequestLine)}
    used = re.findall(r"\$\.(\w+)", metric["FilterPattern"] + metric["MetricTransformations"][0]["MetricValue"])
    assert set(used) == {"event", "rows", "seconds"} <= fields
    slow = dict(resources("AWS::CloudWatch::Alarm"))["platform.Slow"]
    assert (slow["Namespace"], slow["MetricName"]) == ({"Sub": "batchyield/${Environment}"}, "seconds")


def test_access_logs():
    """The balancer and the data bucket log who used them, into a bucket whose policy lets them write."""
    buckets, (policy,) = (
        dict(resources("AWS::S3::Bucket")),
        [properties for name, properties in resources("AWS::S3::BucketPolicy") if name == "foundation.LogsPolicy"],
    )
    writers = {s["Principal"]["Service"] for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"}
    assert writers == {"logdelivery.elasticloadbalancing.amazonaws.com", "logging.s3.amazonaws.com"}
    assert buckets["foundation.Data"]["LoggingConfiguration"]["DestinationBucketName"] == {"Ref": "Logs"}
    ((_, balancer),) = resources("AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
    assert attributes["access_logs.s3.enabled"] == "true"


def test_callers():
    """Only the addresses of `CallersCidr` reach the balancer."""
    group = dict(resources("AWS::EC2::SecurityGroup"))["network.BalancerGroup"]
    assert {rule["CidrIp"]["Ref"] for rule in group["SecurityGroupIngress"]} == {"CallersCidr"}


def deploy(*arguments, cwd=ROOT):
    """Run deploy.sh; return (exit code, standard output, standard error)."""
    done = run(ROOT / "deploy/aws/deploy.sh", *arguments, cwd=cwd, check=False)
    return done.returncode, done.stdout, done.stderr


def succeed(*arguments, cwd=ROOT):
    """Run deploy.sh, which has to succeed; return its output."""
    code, out, err = deploy(*arguments, cwd=cwd)
    assert code == 0, out + err
    return out + err


def refuse(*arguments, cwd=ROOT):
    """Run deploy.sh, which has to fail with exit code 2; return the last two lines of standard error."""
    code, out, err = deploy(*arguments, cwd=cwd)
    assert code == 2, out + err
    return "\n".join(err.splitlines()[-2:])


def stack(name):
    """A stack as CloudFormation describes it; None if there is none of that name."""
    stacks = api("cloudformation").describe_stacks()["Stacks"]
    return next((one for one in stacks if one["StackName"] == f"batchyield-{name}"), None)


def outputs(name):
    return {one["OutputKey"]: one["OutputValue"] for one in stack(name)["Outputs"]}


def task_definition(stage):
    """The newest task definition of a stage's service."""
    return api("ecs").describe_task_definition(taskDefinition=f"batchyield-{stage}")["taskDefinition"]


def digest(version):
    (image,) = api("ecr").describe_images(repositoryName="batchyield", imageIds=[{"imageTag": version}])["imageDetails"]
    return image["imageDigest"]


@pytest.fixture(scope="module")
def based(account):
    """An account with the foundation and the images of two versions."""
    assert f"StorageRole=arn:aws:iam::{ACCOUNT}:role/batchyield-storage" in succeed("foundation", "acme/batchyield")
    for number, version in enumerate(("1.2.0", "1.3.0")):
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [{"digest": f"sha256:{number:064x}"}]}
        api("ecr").put_image(
            repositoryName="batchyield",
            imageManifest=json.dumps(manifest),
            imageManifestMediaType=MANIFEST,
            imageTag=version,
        )


@pytest.fixture(scope="module")
def certificate(based):
    arn = api("acm").request_certificate(DomainName="yield.example.org")["CertificateArn"]
    return f"Certificate={arn}"


@pytest.fixture(scope="module")
def staging(certificate):
    """A stage that serves 1.2.0; returns the output of deploy.sh for its creation and for the deployment."""
    created = succeed("up", "staging", certificate, "SlowSeconds=2")
    code, _, err = deploy("status", "staging")
    assert (code, "nothing is deployed to staging yet" in err) == (1, True)
    return created, succeed("deploy", "staging", "1.2.0", "MostTasks=9")


@pytest.mark.slow
@pytest.mark.usefixtures("staging")
class TestStage:
    def test_up(self, staging):
        """The resources of a stage have the properties that the templates promise."""
        assert f"DeployRole=arn:aws:iam::{ACCOUNT}:role/batchyield-staging-deploy" in staging[0]
        bucket = outputs("foundation")["DataBucket"]
        assert api("s3").get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        assert "SecureTransport" in api("s3").get_bucket_policy(Bucket=bucket)["Policy"]
        (database,) = api("rds").describe_db_instances()["DBInstances"]
        assert (database["StorageEncrypted"], database["PubliclyAccessible"]) == (True, False)
        assert (database["MultiAZ"], database["DeletionProtection"]) == (True, True)
        alarms = {alarm["AlarmName"] for alarm in api("cloudwatch").describe_alarms()["MetricAlarms"]}
        assert {"batchyield-staging-failing", "batchyield-staging-slow"} <= alarms
        assert "nobody receives the alarms: deploy/aws/deploy.sh up staging AlarmEmail=ADDRESS" in staging[0]
        balancer = api("elbv2").describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
        listeners = api("elbv2").describe_listeners(LoadBalancerArn=balancer)["Listeners"]
        ports = {(one["Port"], one["DefaultActions"][0]["Type"]) for one in listeners}
        assert ports == {(443, "forward"), (80, "redirect")}

    def test_alarms_reach_the_topic(self):
        """CloudWatch may use the key of the topic, which it may not with the default one."""
        topic = outputs("staging-platform")["AlarmTopic"]
        for alarm in api("cloudwatch").describe_alarms(AlarmNamePrefix="batchyield-")["MetricAlarms"]:
            assert alarm["AlarmActions"] == [topic]
        key = api("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["KmsMasterKeyId"]
        policy = api("kms").get_key_policy(KeyId=key, PolicyName="default")[
            "Policy"
        ]  # moto keeps the template's mapping
        allowed = [
            s["Action"] for s in policy["Statement"] if s["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        ]
        assert allowed == [["kms:Decrypt", "kms:GenerateDataKey*"]]

    def test_deploy(self, staging):
        """The journal is migrated before the service is created from the image's digest."""
        output = staging[1]
        assert "journal: up to date" in output
        assert outputs("staging-service")["Serving"] == "1.2.0"
        (service,) = (one for one in task_definition("staging")["containerDefinitions"] if one["name"] == "api")
        assert service["image"].endswith(f"/batchyield@{digest('1.2.0')}")
        assert (service["user"], service["readonlyRootFilesystem"]) == ("10001:10001", True)
        assert "PGPASSWORD" in {secret["name"] for secret in service["secrets"]}
        assert not [one for one in service["environment"] if "password" in json.dumps(one).lower()]

    def test_dry_run(self, certificate):
        """A dry run lists the resources that would change, and leaves neither a stack nor a new version."""
        assert "AWS::EC2::VPC" in succeed("up", "dry", certificate, "--dry-run")
        assert stack("dry-network") is None
        assert "AWS::ECS::TaskDefinition" in succeed("deploy", "staging", "1.3.0", "--dry-run")
        assert outputs("staging-service")["Serving"] == "1.2.0"

    def test_failed_migration(self, monkeypatch):
        """A migration that fails stops the deployment before the service changes."""
        known = moto.ecs.models.Container.__init__

        def failing(container, *arguments, **named):
            known(container, *arguments, **named)
            container.exitCode = 3

        monkeypatch.setattr(moto.ecs.models.Container, "__init__", failing)
        output = refuse("deploy", "staging", "1.3.0")
        assert "the migration of the journal ended with 3" in output
        assert "the service is unchanged" in output
        assert outputs("staging-service")["Serving"] == "1.2.0"

    def test_second_version(self):
        """A deployment changes the image; the network and the parameters that are not given stay."""
        before, network = task_definition("staging"), api("ec2").describe_security_groups()["SecurityGroups"]
        succeed("deploy", "staging", "1.3.0")
        assert task_definition("staging")["revision"] == before["revision"] + 1
        parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack("staging-service")["Parameters"]}
        assert parameters["Image"].endswith(f"@{digest('1.3.0')}")
        assert digest("1.3.0") != digest("1.2.0")
        assert parameters["MostTasks"] == "9"
        assert api("ec2").describe_security_groups()["SecurityGroups"] == network
        assert "staging: version 1.3.0" in deploy("status", "staging")[1]

    def test_up_again(self):
        """A second `up` changes nothing that was set before."""
        succeed("up", "staging")
        (target,) = api("application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
        assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 9)
        (slow,) = api("cloudwatch").describe_alarms(AlarmNames=["batchyield-staging-slow"])["MetricAlarms"]
        assert slow["Threshold"] == 2

    def test_keys(self, tmp_path):
        """The secret holds the hashes of the file, and the service starts new tasks."""
        file = tmp_path / "api_keys"
        token = api_keys.add_key(file, "line-3", ["predict"])
        assert "new tasks with these keys replace the running ones" in succeed("keys", "staging", str(file))
        secret = api("secretsmanager").get_secret_value(SecretId="batchyield/staging/api-keys")["SecretString"]
        assert "line-3" in secret
        assert token not in secret
        (tmp_path / "empty").write_text('{"keys": []}')
        assert "holds no key" in refuse("keys", "staging", str(tmp_path / "empty"))

    def test_missing_image(self):
        """A version without an image is refused."""
        assert "there is no image batchyield:9.9.9\n" in refuse("deploy", "staging", "9.9.9")


@pytest.mark.slow
@pytest.mark.usefixtures("based")
class TestErrors:
    def test_version_in_stage(self):
        """Without a version, a stage that the registry has given none is refused."""
        assert "no version is in environment dev\n  make promote ENVIRONMENT=dev" in refuse("deploy", "dev")

    @pytest.mark.parametrize(
        ("arguments", "message", "remedy"),
        [
            (("deploy", "none", "1.2.0"), "stack batchyield-none-network cannot be read", "deploy.sh up none"),
            (("up", "staging", "MostTask=3"), "no template has a parameter MostTask", "MostTasks"),
            (("deploy", "staging", "1.2.0", "MostTask=3"), "no template has a parameter MostTask", "MostTasks"),
            (("status", "prod"), "stack batchyield-prod-platform cannot be read", "docs/deploy-aws.md"),
            (("up", "Prod!"), "invalid environment 'Prod!'", "lower-case"),
            (("up", "staging", "--dry"), "unknown option --dry", "--help"),
        ],
    )
    def test_errors(self, arguments, message, remedy):
        """An error says what is wrong and what to do."""
        wrong, what_to_do = refuse(*arguments).split("\n")
        assert message in wrong
        assert remedy in what_to_do

    def test_failed_change(self):
        """The reason of CloudFormation's refusal is shown."""
        code, _, err = deploy("up", "wrong", "Prefix=10.42.0.0")
        assert code == 2
        assert "batchyield-wrong-network was not changed" in err

    def test_without_credentials(self, monkeypatch, tmp_path):
        """The AWS CLI's own message about missing credentials or region is shown."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert "You must specify a region" in deploy("status", "staging")[2]
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        assert "Unable to locate credentials" in deploy("status", "staging")[2]

    def test_without_aws_cli(self, tmp_path):
        """Without the AWS CLI, the script says how to get it."""
        for tool in ("bash", "dirname", "awk"):
            (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
        done = subprocess.run(
            [ROOT / "deploy/aws/deploy.sh", "status", "dev"],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "the AWS CLI is not on PATH\n  install it, or: make aws-cli" in done.stderr

    def test_help(self):
        """--help describes every command, and no command at all is a usage error."""
        output = succeed("--help")
        for command in ("foundation", "up", "deploy", "keys", "status"):
            assert f"\n  {command} " in output
            assert f"  deploy/aws/deploy.sh {command} " in output or command == "status"
        assert deploy()[0] == 2


def test_journal_password(postgres_server, monkeypatch):
    """The journal's password is read from PGPASSWORD."""
    monkeypatch.setenv("PGPASSWORD", "from the secret")
    with opened(postgres_server.get_uri()) as store, store.read_transaction() as connection:
        assert connection.connection.driver_connection.info.password == "from the secret"
        assert connection.exec_driver_sql("select 1").scalar() == 1


def test_keys_container(tmp_path):
    """The keys container writes a file that the service reads."""
    service = dict(resources("AWS::ECS::TaskDefinition"))["service.Task"]
    (keys,) = [one for one in service["ContainerDefinitions"] if one["Name"] == "keys"]
    (command,) = keys["Command"]
    file = tmp_path / "source"
    api_keys.add_key(file, "line-3", ["predict"])
    subprocess.run(
        ["sh", "-c", command.replace("/var/lib/batchyield/keys", str(tmp_path))],
        env={"API_KEYS": file.read_text(), "PATH": os.environ["PATH"]},
        check=True,
    )
    assert [key.name for key in api_keys.read_keys(tmp_path / "api_keys")] == ["line-3"]
    assert (tmp_path / "api_keys").stat().st_mode & 0o077 == 0
