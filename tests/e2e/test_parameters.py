"""Does every set of parameters give a sound stack? The template is expanded and evaluated with each of them. cfn-lint and
checkov check the result, which contains only what the stack would have."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import package
import pytest

from support.cloudformation import ACCOUNT, REGION, STACK, TEMPLATE, Template, expand_template, read_template
from support.harness import ROOT, TOOLS

READ = read_template()
OTHER_TEMPLATES = sorted((ROOT / "deploy").glob("*.yaml"))

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:scalekit-AbCdEf"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"
WEB_ACL = f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/webhooks/11111111-2222-3333-4444-555555555555"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundaries/functions"

SETS: dict[str, dict[str, str]] = {
    "defaults": {},
    "options": {
        "Ingress": "HttpApi",
        "AlarmEmail": "operator@example.com",
        "SilenceHours": "24",
        "QueueWriterArns": f"arn:aws:iam::{ACCOUNT}:role/operator",
        "EnvironmentId": "env_74418471961625391",
    },
    "organization": {
        "KmsKeyArn": KEY,
        "PermissionsBoundaryArn": BOUNDARY,
        "RolePath": "/teams/identity/",
        "AlarmTopicArn": TOPIC,
        "ConsumerOrganizationId": "o-a1b2c3d4e5",
        "BusLogLevel": "INFO",
    },
    "key": {"KmsKeyArn": KEY},
    "key-and-existing": {"KmsKeyArn": KEY, "ExistingEventBus": "shared", "ExistingSecretArn": SECRET},
    "topic": {"AlarmTopicArn": TOPIC, "AlarmEmail": "operator@example.com"},
    "bus-of-another-account": {"ExistingEventBus": f"arn:aws:events:{REGION}:210987654321:event-bus/central"},
    "accounts": {"ConsumerAccountIds": "210987654321, 111111111111"},
    "http-api-with-domain": {
        "Ingress": "HttpApi",
        "DomainName": "scalekit.example.com",
        "CertificateArn": CERTIFICATE,
        "DefaultEndpoint": "Disabled",
    },
    "rest-api": {"Ingress": "RestApi", "Tracing": "Active"},
    "rest-api-of-an-organization": {
        "Ingress": "RestApi",
        "Tracing": "Active",
        "KmsKeyArn": KEY,
        "PermissionsBoundaryArn": BOUNDARY,
        "RolePath": "/teams/identity/",
        "WebAclArn": WEB_ACL,
        "AllowedSourceIps": "192.0.2.0/24, 2001:db8::/32",
        "ApiGatewayLogRole": "Create",
        "DomainName": "hooks.example.com",
        "CertificateArn": CERTIFICATE,
        "HostedZoneId": "Z0123456789ABCDEFGHIJ",
        "BasePath": "webhooks/scalekit",
        "DefaultEndpoint": "Disabled",
    },
    "rest-api-with-another-list": {
        "Ingress": "RestApi",
        "Tracing": "Active",
        "AllowedSourceIps": "198.51.100.7/32",
        "RestApiDeployment": "B",
    },
}
# The sets with a key for everything that is stored.
KEYED = ["organization", "key", "key-and-existing", "rest-api-of-an-organization"]

# The checks that are about a customer managed key.
ENCRYPTION_CHECKS = {"CKV_AWS_26", "CKV_AWS_27", "CKV_AWS_149", "CKV_AWS_158", "CKV_AWS_173"}


@cache
def expand(name: str) -> Template:
    return Template(expand_template(**SETS[name]), **SETS[name])


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory with a template for each set. It has the resources of the stack, without conditions and functions."""
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        for name in SETS:
            resources = {
                name: {"Type": it.type, "Properties": it.properties} for name, it in expand(name).resources.items()
            }
            (Path(directory) / f"{name}.json").write_text(json.dumps({"Resources": resources}))
        schemas = run(sys.executable, ROOT / "deploy" / "schemas.py", directory=Path(directory)).stdout
        (Path(directory) / "schemas.json").write_text(schemas)
        yield Path(directory)


def run(*command: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=os.environ | {"HOME": str(directory)}, capture_output=True, text=True
    )


def test_cfn_lint_finds_nothing(directory: Path) -> None:
    linted = run(
        *(TOOLS / "sam" / "bin" / "cfn-lint", "--regions", REGION, "--format", "parseable"),
        *("--template", "schemas.json", *(f"{name}.json" for name in SETS)),
        directory=directory,
    )
    assert (linted.returncode, linted.stdout) == (0, ""), linted.stdout + linted.stderr


@pytest.fixture(scope="module")
def failed(directory: Path) -> dict[str, set[tuple[str, str]]]:
    """The checks of checkov that fail in each template, with the resource. One process checks all templates, because it
    takes seconds to start."""
    files = [TEMPLATE, *OTHER_TEMPLATES, *(directory / f"{name}.json" for name in SETS)]
    checked = run(
        *(TOOLS / "checkov" / "bin" / "checkov", "--framework", "cloudformation", "--skip-download"),
        *("--output", "json", "--file", *files),
        directory=directory,
    )
    assert checked.stdout.startswith("{"), checked.stderr
    results = json.loads(checked.stdout)["results"]
    checked_resources = {check["resource"] for kind in ("passed_checks", "failed_checks") for check in results[kind]}
    endpoints = {"Lambda::Url.FunctionUrl", "ApiGatewayV2::Stage.HttpApiStage", "ApiGateway::Stage.RestApiStage"}
    assert {f"AWS::{endpoint}" for endpoint in endpoints} <= checked_resources
    assert all(check["check_result"]["suppress_comment"] for check in results["skipped_checks"])
    found: dict[str, set[tuple[str, str]]] = {file.stem: set() for file in files}
    for check in results["failed_checks"]:
        found[Path(check["file_path"]).stem].add((check["check_id"], check["resource"].rpartition(".")[2]))
    return found


def accepted() -> set[tuple[str, str]]:
    """The checks that the template accepts with a reason, with the resource."""
    found = set()
    for name, resource in re.findall(r"^  (\w+):\n((?:    .*\n|\n)*)", TEMPLATE.read_text(), re.MULTILINE):
        found |= {(check, name) for check in re.findall(r"# checkov:skip=(\w+):.", resource)}
    assert found
    return found


@pytest.mark.parametrize("template", [TEMPLATE, *OTHER_TEMPLATES], ids=lambda path: path.stem)
def test_checkov_finds_nothing_in_a_template(template: Path, failed: dict[str, set[tuple[str, str]]]) -> None:
    """With the defaults of the parameters, and without the findings that a comment accepts."""
    assert failed[template.stem] == set()


@pytest.mark.parametrize("name", SETS)
def test_checkov_finds_nothing_that_is_not_accepted_with_a_reason(
    name: str, failed: dict[str, set[tuple[str, str]]]
) -> None:
    assert failed[name] <= accepted()


@pytest.mark.parametrize("name", KEYED)
def test_a_key_encrypts_everything_that_is_stored(name: str, failed: dict[str, set[tuple[str, str]]]) -> None:
    """One queue is the exception: it has to work while the key doesn't, and its events are encrypted with the key."""
    unencrypted = {(check, resource) for check, resource in failed[name] if check in ENCRYPTION_CHECKS}
    assert unencrypted <= {("CKV_AWS_27", "BusDeadLetterQueue")}
    assert failed["defaults"] & {(check, it) for check in ENCRYPTION_CHECKS for it in ("ParkingQueue", "FunctionLogs")}

    template = expand(name)
    keys = {
        resource: [value for value in it.properties.values() if value == KEY]
        for resource, it in template.resources.items()
        if it.type.rpartition("::")[2] in ("EventBus", "Archive", "Queue", "LogGroup", "Secret", "Topic")
    }
    keys["WebhookFunction"] = [template.resources["WebhookFunction"].properties["KmsKeyArn"]]
    keys.pop("BusDeadLetterQueue", None)
    assert all(found == [KEY] for found in keys.values()), keys
    assert not template.of_type("AWS::KMS::Key")


def test_without_a_key_the_bus_has_no_dead_letter_queue() -> None:
    """Nothing could ever be in it."""
    bus = expand("defaults").resources["EventBus"].properties
    assert bus.keys() == {"Name", "Description"}
    assert "BusDeadLetterQueue" not in expand("key-and-existing").resources


def test_an_existing_topic_takes_the_place_of_the_stacks_own() -> None:
    template = expand("topic")
    assert not template.of_type("AWS::SNS::Topic") and not template.of_type("AWS::KMS::Key")
    for alarm in template.of_type("AWS::CloudWatch::Alarm").values():
        assert (alarm["AlarmActions"], alarm["OKActions"]) == ([TOPIC], [TOPIC])
    [subscription] = template.of_type("AWS::SNS::Subscription").values()
    assert subscription["TopicArn"] == template.outputs["AlarmTopicArn"] == TOPIC


def test_the_role_has_its_path_and_its_boundary() -> None:
    roles = [
        *expand("organization").of_type("AWS::IAM::Role").values(),
        *expand("rest-api-of-an-organization").of_type("AWS::IAM::Role").values(),
    ]
    assert len(roles) == 3
    assert {(role["Path"], role["PermissionsBoundary"]) for role in roles} == {("/teams/identity/", BOUNDARY)}
    assert "PermissionsBoundary" not in expand("defaults").resources["FunctionRole"].properties


@pytest.mark.parametrize(
    ("parameter", "name", "arn"),
    [
        ("", STACK, f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{STACK}"),
        ("shared", "shared", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/shared"),
        ("arn", "arn", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/arn"),
        *((arn, arn, arn) for arn in [f"arn:aws:events:{REGION}:210987654321:event-bus/a/central"]),
    ],
)
def test_the_bus_can_be_read_by_other_stacks(parameter: str, name: str, arn: str) -> None:
    template = Template(READ, ExistingEventBus=parameter)
    assert (template.outputs["EventBusName"], template.outputs["EventBusArn"]) == (name, arn)
    variables = template.resources["WebhookFunction"].properties["Environment"]["Variables"]
    assert variables["EVENT_BUS_NAME"] == name
    stored = {it["Name"]: it["Value"] for it in template.of_type("AWS::SSM::Parameter").values()}
    prefix = f"/scalekit-eventbridge/{STACK}"
    assert stored == {f"{prefix}/event-bus-name": name, f"{prefix}/event-bus-arn": arn}


def test_the_log_of_the_bus_leaves_the_events_out() -> None:
    assert expand("organization").resources["EventBus"].properties["LogConfig"] == {
        "Level": "INFO",
        "IncludeDetail": "NONE",
    }


def test_the_log_of_the_bus_is_delivered_by_deliveries_that_are_created_one_after_the_other() -> None:
    """CloudWatch Logs rejects one while another one for the same destination is being created."""
    resources = read_template(ROOT / "deploy" / "bus-log.yaml")["Resources"]
    deliveries = {name: it for name, it in resources.items() if it["Type"] == "AWS::Logs::Delivery"}
    assert len(deliveries) == 3
    assert [it.get("DependsOn") for it in deliveries.values()] == [None, *deliveries][:3]
# The endpoints.

DOMAIN = {"DomainName": "scalekit.example.com", "CertificateArn": CERTIFICATE}
HTTP_API, REST_API = {"Ingress": "HttpApi"}, {"Ingress": "RestApi"}


@pytest.mark.parametrize(
    ("parameters", "url"),
    [
        ({}, f"https://abc123.lambda-url.{REGION}.on.aws/"),
        (HTTP_API, f"https://{STACK}-HttpApi-1A2B3C4D5E6F.execute-api.{REGION}.amazonaws.com/"),
        (REST_API, f"https://{STACK}-RestApi-1A2B3C4D5E6F.execute-api.{REGION}.amazonaws.com/webhooks"),
        (HTTP_API | DOMAIN, "https://scalekit.example.com/"),
        (REST_API | DOMAIN, "https://scalekit.example.com/"),
        (HTTP_API | DOMAIN | {"BasePath": "webhooks/scalekit"}, "https://scalekit.example.com/webhooks/scalekit"),
        (REST_API | DOMAIN | {"BasePath": "webhooks/scalekit"}, "https://scalekit.example.com/webhooks/scalekit"),
    ],
)
def test_the_output_is_the_url_to_enter(parameters: dict[str, str], url: str) -> None:
    assert Template(READ, **parameters).outputs["WebhookUrl"] == url


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"WebAclArn": WEB_ACL}, "WebAclArn needs Ingress=RestApi"),
        (HTTP_API | {"WebAclArn": WEB_ACL}, "WebAclArn needs Ingress=RestApi"),
        ({"AllowedSourceIps": "192.0.2.0/24"}, "AllowedSourceIps needs Ingress=RestApi"),
        (HTTP_API | {"AllowedSourceIps": "192.0.2.0/24"}, "AllowedSourceIps needs Ingress=RestApi"),
        (DOMAIN, "DomainName needs Ingress=HttpApi or Ingress=RestApi"),
        (REST_API | {"DomainName": "scalekit.example.com"}, "DomainName needs CertificateArn"),
        (REST_API | {"CertificateArn": CERTIFICATE}, "CertificateArn needs DomainName"),
        (REST_API | {"HostedZoneId": "Z1"}, "HostedZoneId needs DomainName"),
        (HTTP_API | {"BasePath": "webhooks"}, "BasePath needs DomainName"),
        (HTTP_API | {"DefaultEndpoint": "Disabled"}, "DefaultEndpoint=Disabled needs DomainName"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(parameters: dict[str, str], text: str) -> None:
    with pytest.raises(AssertionError, match=f"^{text}"):
        Template(READ, **parameters)


@pytest.mark.parametrize("ingress", ["HttpApi", "RestApi"])
def test_a_domain_name_belongs_to_the_api_in_use(ingress: str) -> None:
    template = Template(READ, Ingress=ingress, HostedZoneId="Z1", DefaultEndpoint="Disabled", **DOMAIN)
    [mapping] = template.of_type("AWS::ApiGatewayV2::ApiMapping").values()
    assert mapping == {
        "DomainName": "scalekit.example.com",
        "ApiId": f"{STACK}-{ingress}-1A2B3C4D5E6F",
        "Stage": {"HttpApi": "$default", "RestApi": "webhooks"}[ingress],
    }
    assert template.resources[ingress].properties["DisableExecuteApiEndpoint"] is True
    [record] = template.of_type("AWS::Route53::RecordSet").values()
    assert (record["HostedZoneId"], record["Name"]) == ("Z1", "scalekit.example.com")
    assert record["AliasTarget"]["DNSName"] == template.outputs["DomainNameTarget"]


def test_an_http_api_takes_every_path() -> None:
    """Under a domain name with a path, a request without a slash at its end doesn't match the route `POST /`."""
    template = Template(READ, **HTTP_API)
    assert template.resources["HttpApiRoute"].properties["RouteKey"] == "$default"
    assert template.resources["HttpApiPermission"].properties["SourceArn"].endswith("/*/$default")


def test_a_rest_api_has_one_method_which_validates_nothing() -> None:
    template = expand("rest-api")
    definition = template.resources["RestApi"].properties["Body"]
    [[path, methods]] = definition["paths"].items()
    assert (path, methods.keys()) == ("/", {"post"})
    assert "x-amazon-apigateway-request-validator" not in json.dumps(definition)
    assert template.resources["RestApi"].properties["DisableExecuteApiEndpoint"] is False
    assert template.resources["RestApiStage"].properties["TracingEnabled"] is True
    untraced = Template(READ, Tracing="PassThrough", **REST_API)
    assert untraced.resources["RestApiStage"].properties["TracingEnabled"] is False


@pytest.mark.parametrize(
    ("parameters", "deployment"),
    [
        ({}, "RestApiOpenDeployment"),
        ({"RestApiDeployment": "B"}, "RestApiOpenDeployment"),
        ({"AllowedSourceIps": "192.0.2.0/24"}, "RestApiRestrictedDeploymentA"),
        ({"AllowedSourceIps": "192.0.2.0/24", "RestApiDeployment": "B"}, "RestApiRestrictedDeploymentB"),
    ],
)
def test_the_first_list_of_addresses_and_each_switch_make_a_new_deployment(
    parameters: dict[str, str], deployment: str
) -> None:
    """API Gateway applies a policy with the next deployment only."""
    template = Template(READ, **REST_API, **parameters)
    assert template.of_type("AWS::ApiGateway::Deployment").keys() == {deployment}
    assert template.resources["RestApiStage"].properties["DeploymentId"] == f"{STACK}-{deployment}-1A2B3C4D5E6F"


def test_another_definition_of_the_rest_api_gets_new_deployments() -> None:
    """An upgrade would otherwise leave the old definition in force. If only the first of these differs, give the
    deployments new logical ids, and then change both."""
    definition = json.dumps(READ["Resources"]["RestApi"]["Properties"], sort_keys=True)
    deployments = {name for name, it in READ["Resources"].items() if it["Type"] == "AWS::ApiGateway::Deployment"}
    assert hashlib.sha256(definition.encode()).hexdigest()[:12] == "5ebab5fb010f"
    assert deployments == {"RestApiOpenDeployment", "RestApiRestrictedDeploymentA", "RestApiRestrictedDeploymentB"}


def test_the_stage_changes_with_the_default_endpoint() -> None:
    """API Gateway applies that setting with the next change of the stage only."""
    stages = [
        Template(READ, **REST_API, **DOMAIN, DefaultEndpoint=endpoint).resources["RestApiStage"].properties
        for endpoint in ("Enabled", "Disabled")
    ]
    assert stages[0] != stages[1]


@pytest.mark.parametrize(("ingress", "settings"), [("HttpApi", "AccessLogSettings"), ("RestApi", "AccessLogSetting")])
def test_the_access_log_has_no_headers_and_no_bodies(ingress: str, settings: str) -> None:
    template = Template(READ, Ingress=ingress)
    log = template.resources[f"{ingress}Stage"].properties[settings]
    assert log["DestinationArn"] == template.arn("ApiLogs")
    assert set(json.loads(log["Format"]).values()) == {
        *("$context.requestId", "$context.httpMethod", "$context.path", "$context.status"),
        *("$context.error.responseType", "$context.integrationStatus", "$context.responseLatency"),
        "$context.identity.sourceIp",
    }
    for method in template.resources[f"{ingress}Stage"].properties.get("MethodSettings", []):
        assert method["DataTraceEnabled"] is False


# The properties that are names which the template chooses, by type of resource.
NAMES = {
    "AWS::Events::EventBus": "Name",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::ApiGatewayV2::Api": "Name",
    "AWS::ApiGateway::RestApi": "Name",
}


# The properties that end in "Name" and refer to another resource, or need to be unique only within one.
OTHER_NAMES = {"DisplayName", "EventBusName", "FunctionName", "LogGroupName", "MetricName", "StageName"}


def names(template: Template) -> set[tuple[str, str]]:
    found = set()
    for it in template.resources.values():
        for name in (property for property in it.properties if property.endswith("Name")):
            if name not in OTHER_NAMES:
                assert NAMES[it.type] == name
                found.add((it.type, it.properties[name]))
    return found


@pytest.mark.parametrize("ingress", ["HttpApi", "RestApi"])
def test_two_stacks_have_no_name_in_common(ingress: str) -> None:
    """The names of the second stacks are chosen to collide, if names could."""
    names_of = {
        stack: names(Template(READ, stack=stack, KmsKeyArn=KEY, SilenceHours="24", Ingress=ingress))
        for stack in (STACK, f"{STACK}-dev", f"{STACK}-parking", f"{STACK}-Bus", f"{STACK}-Dead")
    }
    assert all(len(found) > 20 for found in names_of.values())
    everything = Counter(name for found in names_of.values() for name in found)
    assert set(everything.values()) == {1}
    for stack, found in names_of.items():
        assert all(name.removeprefix("/scalekit-eventbridge/").startswith(stack) for _, name in found)


def test_a_deleted_stack_leaves_no_name_behind_except_the_bus() -> None:
    old, new = (
        {
            (it.type, it.properties[NAMES[it.type]])
            for name, it in template.resources.items()
            if READ["Resources"][name].get("DeletionPolicy") == "RetainExceptOnCreate"
            and NAMES.get(it.type) in it.properties
        }
        for template in (Template(READ), Template(READ, uuid="99999999-2222-3333-4444-666666666666"))
    )
    assert old & new == {("AWS::Events::EventBus", STACK)}


def test_a_stack_name_of_59_characters_leaves_room_for_the_names() -> None:
    """A queue's name has at most 80 characters, an alarm's 255, and an API's 128."""
    template = Template(READ, stack="s" * 59, KmsKeyArn=KEY, Ingress="HttpApi")
    assert max(len(name) for type, name in names(template) if type == "AWS::SQS::Queue") == 80


def test_nothing_stands_in_the_way_of_the_stacks_tags() -> None:
    """CloudFormation adds the tags of the stack to each resource. A resource's own tag with the same key would win."""
    tags = {
        tag["Key"]
        for name in SETS
        for it in expand(name).resources.values()
        for tag in it.properties.get("Tags", [])
    }
    assert tags == {"lambda:createdBy", "scalekit-eventbridge:version"}  # the first is by SAM


def test_every_parameter_is_described_and_grouped() -> None:
    interface = READ["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert Counter(grouped) == Counter(READ["Parameters"].keys())
    assert interface["ParameterLabels"].keys() == READ["Parameters"].keys()
    for parameter in READ["Parameters"].values():
        assert parameter["Description"].endswith(".")
        assert "Default" in parameter
        assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}


@pytest.mark.parametrize(
    ("parameter", "accepted", "rejected"),
    [
        (
            "QueueWriterArns",
            [
                "",
                "arn:aws:iam::123456789012:role/operator",
                "arn:aws:iam::123456789012:user/ci, arn:aws-us-gov:iam::123456789012:role/path/*",
            ],
            ["*", "operator", "arn:aws:iam::*:role/operator", "arn:aws:sts::123456789012:assumed-role/operator/name"],
        ),
        (
            "ExistingSecretArn",
            ["", SECRET, f"{SECRET}:SCALEKIT_WEBHOOK_SECRET::", f"{SECRET}:signing secret::", f"{SECRET}:a::"],
            [
                "scalekit",
                f"arn:aws:ssm:{REGION}:123456789012:parameter/scalekit",
                "whsec_abc",
                f"{SECRET} ",
                f"{SECRET}\n",
                f"{SECRET}*",
                f"{SECRET}?versionStage=AWSCURRENT",
                f"{SECRET}:",
                f"{SECRET}:::",
                f"{SECRET}:key",
                f"{SECRET}:key:",
                f"{SECRET}: key::",
                f"{SECRET}:key ::",
                f"{SECRET}:key:AWSCURRENT:",
                f"{SECRET}:key::1a2b3c4d",
                f"{SECRET}::AWSCURRENT:",
            ],
        ),
        (
            "ExistingEventBus",
            ["", "shared", "aws.partner/example.com/1", f"arn:aws:events:{REGION}:123456789012:event-bus/a/b"],
            ["a b", "a" * 257, f"arn:aws:events:{REGION}:123456789012:rule/a", f"arn:aws:events:{REGION}:1:event-bus/"],
        ),
        ("EnvironmentId", ["", "env_1"], ["production", "env_", "env_1,env_2", f"env_{'1' * 29}"]),
        ("ConsumerOrganizationId", ["", "o-a1b2c3d4e5"], ["a1b2c3d4e5", "o-*", "*"]),
        ("ConsumerAccountIds", ["", "123456789012", "123456789012, 210987654321"], ["*", "12345678901", f"{ACCOUNT};"]),
        ("KmsKeyArn", ["", KEY], ["alias/scalekit", KEY.replace("key/", "alias/"), KEY.rpartition("/")[2]]),
        (
            "DocumentationUrl",
            ["scalekit-eventbridge", "https://github.com/acme/scalekit-eventbridge/blob/v0.1.0"],
            ["", "docs", "http://example.com", "https://example.com/", "https://example.com/a b"],
        ),
        ("AlarmTopicArn", ["", TOPIC], ["alarms", f"{TOPIC}:1234", TOPIC.replace("sns", "sqs")]),
        ("PermissionsBoundaryArn", ["", BOUNDARY, "arn:aws:iam::aws:policy/PowerUserAccess"], ["boundary", "*"]),
        (
            "WebAclArn",
            [""],
            ["webhooks", WEB_ACL.replace("regional", "global"), WEB_ACL.rpartition("/")[0]],
        ),
        ("AllowedSourceIps", [""], ["192.0.2.1", "192.0.2.0/24;", "any", "0.0.0.0/0 or so", "2001:db8::"]),
        ("DomainName", [""], ["example", "Example.com", "*.example.com", "https://example.com", "example.com/"]),
        ("CertificateArn", [""], [CERTIFICATE.replace("acm", "iam"), CERTIFICATE.rpartition("/")[2]]),
        ("HostedZoneId", [""], ["example.com", "/hostedzone/Z1", "z1"]),
        ("BasePath", [""], ["/webhooks", "webhooks/", "a//b", "a b", "$default"]),
        ("RolePath", ["/", "/teams/", "/teams/identity/"], ["", "teams", "/teams", "//", "/a b/"]),
    ],
)
def test_a_parameter_accepts_valid_values_only(parameter: str, accepted: list[str], rejected: list[str]) -> None:
    for value in accepted:
        Template(READ, **{parameter: value})
    for value in rejected:
        with pytest.raises(AssertionError, match=f"^{re.escape(value)}"):
            Template(READ, **{parameter: value})


def test_the_expanded_template_is_within_the_limit() -> None:
    """The SAM CLI uploads the template to a bucket. CloudFormation reads 1 MB from there, and the limit also applies to
    the template after the transform."""
    assert TEMPLATE.stat().st_size <= package.MAX_BYTES
    assert len(json.dumps(expand_template())) <= package.MAX_BYTES
