"""moto's server as an account of AWS.

Resource types that its CloudFormation lacks are created by the services' own API.
These calls go through botocore, which refuses a property that the API does not have.
"""

import os
import warnings

import httpx
import moto.applicationautoscaling.models
import moto.cloudformation.models
import moto.cloudformation.responses
import moto.cloudwatch.models
import moto.ecr.models
import moto.ecs.models
import moto.elbv2.models
import moto.rds.models
import moto.sns.models
import pytest
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.server import ThreadedMotoServer
from support.commands import ROOT, run

from batchyield.files import exclusive_lock
from batchyield.versioning.storage import embedded_s3

REGION, ACCOUNT = "eu-central-1", "123456789012"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0a1b"


def api(service):
    return embedded_s3.new_session().create_client(service, region_name=REGION)


def put_secret(properties):
    generated = properties.pop("GenerateSecretString", None)
    if generated:
        properties["SecretString"] = '{"username": "batchyield", "password": "%s"}' % (
            "x" * generated["PasswordLength"]
        )
    return api("secretsmanager").create_secret(**properties)["ARN"]


def put_provider(properties):
    properties = {"Url": properties["Url"], "ClientIDList": properties["ClientIdList"], "ThumbprintList": ["a" * 40]}
    return api("iam").create_open_id_connect_provider(**properties)["OpenIDConnectProviderArn"]


def put_alarm(properties):
    api("cloudwatch").put_metric_alarm(**(properties | {"Threshold": float(properties["Threshold"])}))
    return properties["AlarmName"]


def put_target(properties):
    properties = {
        **properties,
        "MinCapacity": int(properties["MinCapacity"]),
        "MaxCapacity": int(properties["MaxCapacity"]),
    }
    api("application-autoscaling").register_scalable_target(**properties)
    return "|".join((properties["ResourceId"], properties["ScalableDimension"], properties["ServiceNamespace"]))


def put_scaling(properties):
    resource, dimension, namespace = properties.pop("ScalingTargetId").split("|")
    return api("application-autoscaling").put_scaling_policy(
        **properties, ResourceId=resource, ScalableDimension=dimension, ServiceNamespace=namespace
    )["PolicyARN"]


def put_bucket_policy(properties):
    import json

    api("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"]))
    return properties["Bucket"]


def put_bucket(properties):
    """moto's own kind leaves all but the name out."""
    s3, name = api("s3"), properties["BucketName"]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    if versioning := properties.get("VersioningConfiguration"):
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=properties["PublicAccessBlockConfiguration"])
    rules = [
        {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        for rule in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    ]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    return name


def put_filter(properties):
    name = {name[0].lower() + name[1:]: value for name, value in properties["MetricTransformations"][0].items()}
    api("logs").put_metric_filter(
        logGroupName=properties["LogGroupName"],
        filterName=properties["FilterName"],
        filterPattern=properties["FilterPattern"],
        metricTransformations=[name],
    )
    return properties["FilterName"]


def put_subscription(properties):
    return api("sns").subscribe(**properties, ReturnSubscriptionArn=True)["SubscriptionArn"]


def put_database(properties):
    """moto's own kind leaves half of the properties out."""
    for name in ("AllocatedStorage", "MaxAllocatedStorage", "BackupRetentionPeriod"):
        properties[name] = int(properties[name])
    properties["MultiAZ"] = properties["MultiAZ"] == "true"
    properties["VpcSecurityGroupIds"] = properties.pop("VPCSecurityGroups")
    for name in ("DBSubnetGroupName", "DBParameterGroupName"):
        properties[name] = getattr(properties[name], "name", properties[name])
    return api("rds").create_db_instance(**properties)["DBInstance"]["DBInstanceIdentifier"]


ATTRIBUTES = {"Endpoint.Address": "{}.rds.amazonaws.com", "Arn": "arn:aws:s3:::{}"}

LACKING = {
    "AWS::RDS::DBInstance": put_database,
    "AWS::SecretsManager::Secret": put_secret,
    "AWS::IAM::OIDCProvider": put_provider,
    "AWS::CloudWatch::Alarm": put_alarm,
    "AWS::ApplicationAutoScaling::ScalableTarget": put_target,
    "AWS::ApplicationAutoScaling::ScalingPolicy": put_scaling,
    "AWS::S3::Bucket": put_bucket,
    "AWS::S3::BucketPolicy": put_bucket_policy,
    "AWS::SNS::Subscription": put_subscription,
    "AWS::Logs::MetricFilter": put_filter,
}


def model(kind, put):
    def create(_, _name, cloudformation_json, _account, _region, **_rest):
        resource = created()
        resource.physical_resource_id = put(dict(cloudformation_json["Properties"]))
        return resource

    def update(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        again = kind.endswith("Alarm") and original_resource
        return (
            create(cls, new_resource_name, cloudformation_json, None, None) if again else original_resource or created()
        )

    created = type(
        kind,
        (CloudFormationModel,),
        {
            "cloudformation_name_type": staticmethod(lambda: ""),
            "cloudformation_type": staticmethod(lambda: kind),
            "create_from_cloudformation_json": classmethod(create),
            "update_from_cloudformation_json": classmethod(update),
            "has_cfn_attr": classmethod(lambda _, name: name in ATTRIBUTES),
            "get_cfn_attribute": lambda resource, name: ATTRIBUTES[name].format(resource.physical_resource_id),
            "delete_from_cloudformation_json": classmethod(lambda *_: None),
        },
    )
    return created


KINDS = [model(kind, put) for kind, put in LACKING.items()]


def full_name(model, attribute):
    """What CloudWatch calls a balancer or its targets is the end of their ARN; moto leaves it out."""
    known = getattr(model, "get_cfn_attribute", None)

    def get_attribute(resource, name):
        return (
            resource.arn.rpartition(":")[2].removeprefix("loadbalancer/")
            if name == attribute
            else known(resource, name)
        )

    model.get_cfn_attribute = get_attribute
    model.has_cfn_attr = classmethod(lambda *_: True)


def execute(change_set):
    """Execute a change set like moto's own create_stack and update_stack; moto's version leaves the outputs out."""
    stack = change_set.stack
    if change_set.change_set_type == "UPDATE":
        stack.update(change_set.template, parameters=change_set.parameters)
        return
    stack.template, stack.parameters = change_set.template, change_set.parameters
    stack._parse_template()
    stack.resource_map = stack._create_resource_map()
    stack.output_map = stack._create_output_map()
    stack.create_resources()


def changes(change_set, known=moto.cloudformation.models.ChangeSet.diff):
    """Return the changes of a change set, with those of parameters, which moto leaves out."""
    resources = change_set.stack.resource_map
    compare = type(resources).build_resource_diff
    resources.build_resource_diff = lambda template: compare(resources, template, change_set.parameters)
    try:
        return known(change_set)
    finally:
        del resources.build_resource_diff


moto.cloudformation.models.ChangeSet.apply = execute
moto.cloudformation.models.ChangeSet.diff = changes
# On AWS a change set without changes is made and has failed; moto refuses to make it.
moto.cloudformation.responses.CloudFormationResponse._validate_different_update = lambda *_: None
moto.cloudformation.models.Stack.has_parameters = lambda stack, other: stack.stack_parameters == other
full_name(moto.elbv2.models.FakeLoadBalancer, "LoadBalancerFullName")
full_name(moto.elbv2.models.FakeTargetGroup, "TargetGroupFullName")


@pytest.fixture(scope="session")
def awscli():
    """The folder of the AWS CLI's own environment, which `make aws-cli` makes."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with exclusive_lock(ROOT / ".cache"):
        run("make", "aws-cli", cwd=ROOT)
    return ROOT / ".cache/awscli/bin"


@pytest.fixture(scope="module")
def server():
    """moto's server, in a thread of this process, so that a test can change what it does."""
    for cached in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cached.cache_clear()  # filled by another test before the types above were defined
    running = ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def account(server, awscli):
    """An empty account, which the AWS CLI and botocore reach through their environment variables."""
    variables = {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": server,
        "PATH": f"{awscli}{os.pathsep}{os.environ['PATH']}",
    }
    httpx.post(f"{server}/moto-api/reset").raise_for_status()
    immediate = {"model_name": "ecs::task", "transition": {"progression": "immediate"}}
    httpx.post(f"{server}/moto-api/state-manager/set-transition", json=immediate).raise_for_status()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        for name, value in variables.items():
            patch.setenv(name, value)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield
