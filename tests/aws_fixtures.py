"""moto as an account of AWS; kinds of resources that its CloudFormation leaves out are made by the services' own API.

What is made here goes through botocore, which refuses a property that the API does not have.
"""

import warnings

import botocore.session
import moto.applicationautoscaling.models
import moto.cloudwatch.models
import moto.ecr.models
import moto.ecs.models
import moto.elbv2.models
import moto.rds.models
import moto.sns.models
import pytest
from moto import mock_aws
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel

REGION, ACCOUNT = "eu-central-1", "123456789012"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0a1b"


def api(service):
    return botocore.session.Session().create_client(service, region_name=REGION)


def put_secret(made):
    generated = made.pop("GenerateSecretString", None)
    if generated:
        made["SecretString"] = '{"username": "batchyield", "password": "%s"}' % ("x" * generated["PasswordLength"])
    return api("secretsmanager").create_secret(**made)["ARN"]


def put_provider(made):
    made = {"Url": made["Url"], "ClientIDList": made["ClientIdList"], "ThumbprintList": ["a" * 40]}
    return api("iam").create_open_id_connect_provider(**made)["OpenIDConnectProviderArn"]


def put_alarm(made):
    api("cloudwatch").put_metric_alarm(**(made | {"Threshold": float(made["Threshold"])}))
    return made["AlarmName"]


def put_target(made):
    made = {**made, "MinCapacity": int(made["MinCapacity"]), "MaxCapacity": int(made["MaxCapacity"])}
    api("application-autoscaling").register_scalable_target(**made)
    return "|".join((made["ResourceId"], made["ScalableDimension"], made["ServiceNamespace"]))


def put_scaling(made):
    resource, dimension, namespace = made.pop("ScalingTargetId").split("|")
    return api("application-autoscaling").put_scaling_policy(
        **made, ResourceId=resource, ScalableDimension=dimension, ServiceNamespace=namespace
    )["PolicyARN"]


def put_bucket_policy(made):
    import json

    api("s3").put_bucket_policy(Bucket=made["Bucket"], Policy=json.dumps(made["PolicyDocument"]))
    return made["Bucket"]


def put_bucket(made):
    """moto's own kind leaves all but the name out."""
    s3, name = api("s3"), made["BucketName"]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=made["VersioningConfiguration"])
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=made["PublicAccessBlockConfiguration"])
    rules = [
        {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        for rule in made["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    ]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    return name


def put_subscription(made):
    return api("sns").subscribe(**made, ReturnSubscriptionArn=True)["SubscriptionArn"]


def put_database(made):
    """moto's own kind leaves half of the properties out."""
    for name in ("AllocatedStorage", "MaxAllocatedStorage", "BackupRetentionPeriod"):
        made[name] = int(made[name])
    made["MultiAZ"] = made["MultiAZ"] == "true"
    made["VpcSecurityGroupIds"] = made.pop("VPCSecurityGroups")
    for name in ("DBSubnetGroupName", "DBParameterGroupName"):
        made[name] = getattr(made[name], "name", made[name])
    return api("rds").create_db_instance(**made)["DBInstance"]["DBInstanceIdentifier"]


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
}


def model(kind, put):
    def create(_, _name, cloudformation_json, _account, _region, **_rest):
        made = created()
        made.physical_resource_id = put(dict(cloudformation_json["Properties"]))
        return made

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
            "get_cfn_attribute": lambda made, name: ATTRIBUTES[name].format(made.physical_resource_id),
            "delete_from_cloudformation_json": classmethod(lambda *_: None),
        },
    )
    return created


KINDS = [model(kind, put) for kind, put in LACKING.items()]


def full_name(model, attribute):
    """What CloudWatch calls a balancer or its targets is the end of their ARN; moto leaves it out."""
    known = getattr(model, "get_cfn_attribute", None)

    def found(made, name):
        return made.arn.rpartition(":")[2].removeprefix("loadbalancer/") if name == attribute else known(made, name)

    model.get_cfn_attribute = found
    model.has_cfn_attr = classmethod(lambda *_: True)


full_name(moto.elbv2.models.FakeLoadBalancer, "LoadBalancerFullName")
full_name(moto.elbv2.models.FakeTargetGroup, "TargetGroupFullName")


@pytest.fixture
def account(monkeypatch):
    """An empty account; what is asked of AWS in this process asks it."""
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for cached in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cached.cache_clear()  # what another test asked for first
    with mock_aws(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield
