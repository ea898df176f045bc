"""The synthesised template, deployed to the embedded AWS, and real messages through what it made.

Changed for the emulator: CodeDeploy and metric math, which it does not have, are left out. Functions from images become
zip functions that hand each event to the local Lambda runtime, where the real runtime client runs our handler with the
environment that the template gave it.
"""

import copy
import json
from pathlib import Path

import pytest
from botocore.exceptions import WaiterError

from plexus_scoring.local import forwarder
from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.discovery import find_function
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.local.function import LocalFunction
from tests.support.aws import require_embedded_aws
from tests.support.cdk import COMMIT, FUNCTIONS
from tests.support.clock import HANG_SECONDS
from tests.support.stores import key

STACK = "plexus-scoring-staging"
DIGEST = "sha256:" + "c" * 64

SCORECARD = """
name: Parcels
key: parcels
scores:
- name: Late
  id: 1
  class: LangGraphScore
  graph:
  - name: look
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          return Score.Result(parameters=parameters, value="Yes" if "late" in input.text else "No")
  output:
    value: value
    explanation: explanation
"""


def for_the_emulator(template, urls: Path):
    """Return the template with zip functions that read from `urls` where the local runtime listens."""
    changed = copy.deepcopy(dict(template))
    resources = changed["Resources"]
    for name in [n for n, r in resources.items() if r["Type"].startswith("AWS::CodeDeploy::")]:
        del resources[name]
    for name, resource in resources.items():
        resource.pop("UpdatePolicy", None)  # it names the deployment group
        if resource["Properties"].pop("Metrics", None):
            plain = {
                "Namespace": "AWS/Lambda",
                "MetricName": "Errors",
                "Period": 300,
                "Statistic": "Sum",
            }
            resource["Properties"] |= plain
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        properties = resource["Properties"]
        assert properties.pop("PackageType") == "Image"
        source = (
            Path(forwarder.__file__)
            .read_text()
            .replace(
                'os.environ["PLEXUS_LOCAL_INVOCATIONS_URL"]',
                f"json.load(open({str(urls)!r}))[{properties['FunctionName']!r}]",
            )
        )
        assert str(urls) in source, name
        properties |= {
            "Code": {"ZipFile": source},
            "Handler": "index.handler",
            "Runtime": "python3.11",
        }
    return changed


class Deployment:
    """The stack on an embedded AWS, and the runtime behind its functions."""

    def __init__(self, aws, folder):
        self.aws = aws
        self.folder = folder
        self.urls = folder / "urls.json"
        self.outputs = {}
        self.clients = {}

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = self.aws.client(name)
        return self.clients[name]

    def apply(self, template, verb="create"):
        """Create or update the stack and wait for it."""
        cloudformation = self.client("cloudformation")
        getattr(cloudformation, f"{verb}_stack")(
            StackName=STACK,
            TemplateBody=json.dumps(for_the_emulator(template, self.urls)),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        try:
            cloudformation.get_waiter(f"stack_{verb}_complete").wait(
                StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": HANG_SECONDS}
            )
        except WaiterError:
            events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
            reasons = [e["ResourceStatusReason"] for e in events if e.get("ResourceStatusReason")]
            pytest.fail(f"{verb}: {reasons}")
        (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}

    def environment(self, function):
        """Return the variables that the template gave to a function, and where its AWS is."""
        deployed = self.client("lambda").get_function_configuration(FunctionName=function)
        return deployed["Environment"]["Variables"] | self.aws.environment()

    def functions(self):
        for name in FUNCTIONS:
            deployed = f"{STACK}-{name.replace('_', '-')}"
            root, handler = find_function(name)
            yield LocalFunction(
                name=deployed,
                handler=handler,
                task_root=root,
                environment=self.environment(deployed),
                timeout=60,
                max_concurrency=2,
            )

    def send(self, body):
        self.client("sqs").send_message(
            QueueUrl=self.outputs["RequestQueueUrl"], MessageBody=json.dumps(body)
        )

    def receive(self, queue):
        while True:
            answer = self.client("sqs").receive_message(
                QueueUrl=self.outputs[queue], WaitTimeSeconds=20, MessageAttributeNames=["All"]
            )
            for message in answer.get("Messages", []):
                return message


def put_parameters(aws, *commits):
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="21", Type="String")
    for commit in commits:
        for name in FUNCTIONS:
            path = f"/plexus-scoring/staging/images/{name}/{commit}"
            ssm.put_parameter(Name=path, Value=DIGEST, Type="String")


@pytest.fixture(scope="module")
def deployment(staging, tmp_path_factory):
    require_embedded_aws()
    folder = tmp_path_factory.mktemp("deployed")
    with EmbeddedAws(log_file=folder / "ministack.log") as aws:
        put_parameters(aws, COMMIT, "b" * 40)
        deployment = Deployment(aws, folder)
        deployment.apply(staging)
        secret = {"OPENAI_API_KEY": "not-a-key"}
        aws.client("secretsmanager").put_secret_value(
            SecretId=deployment.outputs["SecretArn"], SecretString=json.dumps(secret)
        )
        functions = list(deployment.functions())
        with LocalLambda(functions, folder) as local:
            deployment.urls.write_text(
                json.dumps(
                    {function.name: local.invocations_url(function.name) for function in functions}
                )
            )
            deployment.local = local
            yield deployment


@pytest.fixture
async def application(deployment, monkeypatch):
    """The service's own parts on the deployed table and bucket."""
    from plexus_scoring import bootstrap
    from plexus_scoring.model.scorecard_yaml import load_scorecard
    from plexus_scoring.settings import Settings

    variables = deployment.environment(f"{STACK}-score-processing")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = bootstrap.environment()
    assert environment["OPENAI_API_KEY"] == "not-a-key"
    application = bootstrap.build(Settings.from_environment(environment), environ=environment)
    await application.catalog.put_scorecard(load_scorecard(SCORECARD))
    yield application
    await application.aclose()


async def test_a_message_becomes_a_row_two_objects_and_a_response(deployment, application):
    item = {"text": "My parcel is late again."}
    deployment.send({"request_id": "r-1", "scorecard": "parcels", "score": "Late", "item": item})
    response = json.loads(deployment.receive("ResponseQueueUrl")["Body"])
    assert (response["request_id"], response["status"], response.get("value")) == (
        "r-1",
        "success",
        "Yes",
    ), response
    job = await application.jobs.get(key(response["scoring_job_id"], application.settings.account))
    assert (job.status, job.attempt) == ("COMPLETED", 1)
    stored = deployment.client("s3").list_objects_v2(
        Bucket=deployment.outputs["AttachmentsBucketName"]
    )
    keys = {entry["Key"] for entry in stored["Contents"]}
    prefix = f"scoreresults/{response['score_result_id']}"
    assert {f"{prefix}/trace.json", f"{prefix}/log.txt"} <= keys


async def test_a_poison_message_lands_in_the_dead_letter_queue_with_its_reason(
    deployment, application
):
    deployment.client("sqs").send_message(
        QueueUrl=deployment.outputs["RequestQueueUrl"], MessageBody="{not json"
    )
    dead = deployment.receive("RequestDeadLetterQueueUrl")
    assert dead["Body"] == "{not json"
    reasons = {
        name.lower(): value["StringValue"] for name, value in dead["MessageAttributes"].items()
    }
    assert any("reason" in name for name in reasons), reasons


def test_the_sweeper_runs_with_what_the_template_gives_it(deployment):
    result = deployment.local.invoke(f"{STACK}-sweeper", b"{}")
    assert json.loads(result.payload).get("swept") == 0, result.payload


def test_the_next_commit_updates_the_stack_and_it_can_be_deleted(deployment, tmp_path):
    from tests.support.cdk import synthesise

    following = synthesise(tmp_path, context={"commit": "b" * 40, "stages": "staging"})
    before = deployment.outputs
    deployment.apply(following["plexus-scoring-staging"], "update")
    assert deployment.outputs == before
    function = f"{STACK}-score-processing"
    assert deployment.environment(function)["PLEXUS_SCORING_REVISION"] == "b" * 40

    bucket = deployment.outputs["AttachmentsBucketName"]
    s3 = deployment.client("s3")
    for entry in s3.list_object_versions(Bucket=bucket).get("Versions", []):
        s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    cloudformation = deployment.client("cloudformation")
    cloudformation.delete_stack(StackName=STACK)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": HANG_SECONDS}
    )
    assert not deployment.client("sqs").list_queues().get("QueueUrls")
