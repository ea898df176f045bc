"""Every guarantee of the application stack. Each of these fails when its guarantee is taken out."""

import json
from collections import Counter

import pytest

from plexus_scoring.settings import describe_settings
from plexus_scoring.stores.dynamodb.table import TTL_ATTRIBUTE, table_definition
from tests.support.cdk import require_cdk, synthesise

REQUEST = "plexus-scoring-staging-standard-request-queue"
RESPONSE = "plexus-scoring-staging-response-queue"


def test_resource_counts(staging):
    counts = Counter(r["Type"].removeprefix("AWS::") for r in staging["Resources"].values())
    assert counts == {
        "CloudWatch::Alarm": 10,
        "CloudWatch::Dashboard": 1,
        "CodeDeploy::Application": 1,
        "CodeDeploy::DeploymentGroup": 1,
        "DynamoDB::Table": 1,
        "IAM::Policy": 3,
        "IAM::Role": 4,
        "KMS::Key": 1,
        "Lambda::Alias": 2,
        "Lambda::EventSourceMapping": 1,
        "Lambda::Function": 2,
        "Lambda::Version": 2,
        "Logs::LogGroup": 2,
        "S3::Bucket": 2,
        "S3::BucketPolicy": 2,
        "SNS::Subscription": 1,
        "SNS::Topic": 1,
        "SNS::TopicPolicy": 1,
        "SQS::Queue": 4,
        "SQS::QueuePolicy": 4,
        "Scheduler::Schedule": 1,
        "SecretsManager::Secret": 1,
    }


# --- Queues ---


def test_a_message_is_hidden_for_six_function_timeouts(staging):
    timeout = staging.one(
        "AWS::Lambda::Function", FunctionName="plexus-scoring-staging-score-processing"
    )["Timeout"]
    assert staging.one("AWS::SQS::Queue", QueueName=REQUEST)["VisibilityTimeout"] == 6 * timeout


@pytest.mark.parametrize("name", [REQUEST, RESPONSE])
def test_each_queue_has_a_dead_letter_queue_that_keeps_messages_longer(staging, name):
    queue = staging.one("AWS::SQS::Queue", QueueName=name)
    redrive = queue["RedrivePolicy"]
    dead = staging["Resources"][redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]
    assert redrive["maxReceiveCount"] == 100
    assert dead["QueueName"] == f"{name}-dlq"
    assert dead["MessageRetentionPeriod"] == 14 * 86_400 > queue["MessageRetentionPeriod"]


def denies_plain_http(statement):
    return (
        statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        and statement["Principal"] == {"AWS": "*"}
    )


def test_every_queue_is_encrypted_and_tls_only(staging):
    queues = staging.of_type("AWS::SQS::Queue")
    assert all(queue["Properties"]["SqsManagedSseEnabled"] for queue in queues.values())
    guarded = {
        policy["Properties"]["Queues"][0]["Ref"]
        for policy in staging.of_type("AWS::SQS::QueuePolicy").values()
        if any(map(denies_plain_http, policy["Properties"]["PolicyDocument"]["Statement"]))
    }
    assert guarded == set(queues)


# --- Table and bucket ---


def test_the_table_is_the_stores_own(staging):
    table = staging.one("AWS::DynamoDB::Table")
    layout = table_definition("any")
    assert table["KeySchema"] == layout["KeySchema"]
    assert table["GlobalSecondaryIndexes"] == layout["GlobalSecondaryIndexes"]
    by_name = {a["AttributeName"]: a for a in layout["AttributeDefinitions"]}
    assert {a["AttributeName"]: a for a in table["AttributeDefinitions"]} == by_name
    assert table["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}


def test_the_table_is_on_demand_encrypted_and_recoverable(staging):
    table = staging.one("AWS::DynamoDB::Table")
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def attachments(template):
    (bucket,) = [
        (name, r["Properties"])
        for name, r in template.of_type("AWS::S3::Bucket").items()
        if "VersioningConfiguration" in r["Properties"]
    ]
    return bucket


def test_the_bucket_is_versioned_encrypted_private_and_forgets(staging):
    _, bucket = attachments(staging)
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rule = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["forget-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "ExpirationInDays" not in rules["forget-versions"]
    results = rules["results"]
    assert (results["Prefix"], results["ExpirationInDays"]) == ("scoreresults/", 30)
    assert "LoggingConfiguration" in bucket


def test_bodies_outlive_their_rows(staging, production):
    for template in (staging, production):
        function = template.one("AWS::Lambda::Function", Timeout=300)
        days = int(function["Environment"]["Variables"]["PLEXUS_RETENTION_DAYS"])
        _, bucket = attachments(template)
        (bodies,) = [
            rule
            for rule in bucket["LifecycleConfiguration"]["Rules"]
            if rule.get("Prefix") == "overflow/"
        ]
        assert bodies["ExpirationInDays"] > days


def test_no_bucket_can_be_made_public(staging):
    for bucket in staging.of_type("AWS::S3::Bucket").values():
        assert bucket["Properties"]["PublicAccessBlockConfiguration"] == {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        }


def test_buckets_are_tls_only(staging):
    guarded = {
        policy["Properties"]["Bucket"]["Ref"]
        for policy in staging.of_type("AWS::S3::BucketPolicy").values()
        if any(map(denies_plain_http, policy["Properties"]["PolicyDocument"]["Statement"]))
    }
    assert guarded == set(staging.of_type("AWS::S3::Bucket"))


def test_production_keeps_its_data_and_staging_can_be_deleted(staging, production):
    for kind in ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
        assert {r["DeletionPolicy"] for r in production.of_type(kind).values()} == {"Retain"}
        assert {r["DeletionPolicy"] for r in staging.of_type(kind).values()} == {"Delete"}
    assert production.one("AWS::DynamoDB::Table")["DeletionProtectionEnabled"] is True


# --- Functions ---


@pytest.mark.parametrize("name", ["score_processing", "sweeper"])
def test_images_are_named_by_the_digest_of_the_commit(staging, name):
    function = staging.one(
        "AWS::Lambda::Function", FunctionName=f"plexus-scoring-staging-{name.replace('_', '-')}"
    )
    uri = function["Code"]["ImageUri"]["Fn::Join"][1]
    assert uri[-2].endswith("@") or uri[-2] == "@"
    parameter = staging["Parameters"][uri[-1]["Ref"]]
    assert parameter == {
        "Type": "AWS::SSM::Parameter::Value<String>",
        "Default": f"/plexus-scoring/staging/images/{name}/{'a' * 40}",
    }
    assert ":latest" not in json.dumps(staging)


def test_each_commit_is_a_version_of_its_own_that_stays(assembly, tmp_path_factory):
    other = synthesise(
        tmp_path_factory.mktemp("next"), context={"commit": "b" * 40, "stages": "staging"}
    )["plexus-scoring-staging"]
    staging = assembly["plexus-scoring-staging"]
    versions = staging.of_type("AWS::Lambda::Version")
    assert set(versions).isdisjoint(other.of_type("AWS::Lambda::Version"))
    assert {version["DeletionPolicy"] for version in versions.values()} == {"Retain"}


def test_the_queue_feeds_the_alias_with_partial_responses_and_a_bound(staging):
    mapping = staging.one("AWS::Lambda::EventSourceMapping")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert mapping["BatchSize"] == 10
    target = json.dumps(mapping["FunctionName"])
    aliases = [name for name in staging.of_type("AWS::Lambda::Alias") if f'"{name}"' in target]
    assert [name.startswith("ScoreProcessing") for name in aliases] == [True]
    assert '":live"' in target


def test_function_settings_are_names_the_service_knows_and_hold_no_secret(staging):
    known = {setting.name for setting in describe_settings()} | {"PLEXUS_SCORING_REVISION"}
    secret = {setting.name for setting in describe_settings() if setting.secret}
    for function in staging.of_type("AWS::Lambda::Function").values():
        variables = function["Properties"]["Environment"]["Variables"]
        assert set(variables) <= known
        assert not set(variables) & secret
        assert variables["PLEXUS_SECRET_ARN"] == {
            "Ref": next(iter(staging.of_type("AWS::SecretsManager::Secret")))
        }
        assert {
            "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL",
            "PLEXUS_RESPONSE_WORKER_QUEUE_URL",
            "PLEXUS_ACCOUNT_KEY",
            "SCORECARD_CACHE_DIR",
            "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME",
            "PLEXUS_SCORING_MODE",
        } <= set(variables)


def test_traffic_moves_in_steps_and_back_on_an_alarm(production):
    group = production.one("AWS::CodeDeploy::DeploymentGroup")
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    assert set(group["AutoRollbackConfiguration"]["Events"]) == {
        "DEPLOYMENT_FAILURE",
        "DEPLOYMENT_STOP_ON_ALARM",
        "DEPLOYMENT_STOP_ON_REQUEST",
    }
    alarms = [
        production["Resources"][alarm["Name"]["Ref"]]["Properties"]["AlarmName"].rpartition("-")[2]
        for alarm in group["AlarmConfiguration"]["Alarms"]
    ]
    assert alarms == ["ErrorRate", "FailedJobs"]  # a version that runs, and fails each of its jobs
    policies = [r for r in production.of_type("AWS::Lambda::Alias").values() if "UpdatePolicy" in r]
    assert len(policies) == 1


def test_the_sweeper_runs_every_five_minutes(staging):
    schedule = staging.one("AWS::Scheduler::Schedule")
    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    assert schedule["State"] == "ENABLED"
    alias = staging["Resources"][schedule["Target"]["Arn"]["Ref"]]
    assert "Sweeper" in alias["Properties"]["FunctionName"]["Ref"]


def test_logs_are_encrypted_and_forgotten(staging):
    (key,) = staging.of_type("AWS::KMS::Key").items()
    assert key[1]["Properties"]["EnableKeyRotation"] is True
    for group in staging.of_type("AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] == 14
        assert group["Properties"]["KmsKeyId"] == {"Fn::GetAtt": [key[0], "Arn"]}
    groups = {
        g["Properties"]["LogGroupName"] for g in staging.of_type("AWS::Logs::LogGroup").values()
    }
    functions = {
        f["Properties"]["FunctionName"] for f in staging.of_type("AWS::Lambda::Function").values()
    }
    assert groups == {f"/aws/lambda/{name}" for name in functions}


# --- Who may do what ---


def actions(statement):
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


@pytest.mark.parametrize("name", ["staging", "full"])
def test_no_policy_is_broad(name, request):
    template = request.getfixturevalue(name)
    free = set()
    for statement in template.statements():
        assert statement["Effect"] == "Allow"
        assert not [action for action in actions(statement) if "*" in action]
        resources = statement["Resource"]
        if "*" in (resources if isinstance(resources, list) else [resources]):
            free.update(actions(statement))
    # These three take no resource; everything else names one.
    assert free <= {
        "ecr:GetAuthorizationToken",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    managed = [
        json.dumps(arn)
        for role in template.of_type("AWS::IAM::Role").values()
        for arn in role["Properties"].get("ManagedPolicyArns", [])
    ]
    assert "FullAccess" not in json.dumps(template)
    assert all("AWSCodeDeployRoleForLambdaLimited" in arn for arn in managed)


def allowed(template, logical_part):
    (policy,) = [
        r["Properties"]["PolicyDocument"]["Statement"]
        for name, r in template.of_type("AWS::IAM::Policy").items()
        if name.startswith(logical_part)
    ]
    return {action for statement in policy for action in actions(statement)}


QUEUES = ("RequestDeadLetters", "Request", "ResponseDeadLetters", "Response")


def sends_to(template, logical_part):
    """Return the queues that a role may send to."""
    (statement,) = [
        statement
        for name, r in template.of_type("AWS::IAM::Policy").items()
        if name.startswith(logical_part)
        for statement in r["Properties"]["PolicyDocument"]["Statement"]
        if "sqs:SendMessage" in actions(statement)
    ]
    assert actions(statement) == ["sqs:SendMessage"]
    resources = statement["Resource"]
    arns = resources if isinstance(resources, list) else [resources]
    names = [arn["Fn::GetAtt"][0].removeprefix("Queues") for arn in arns]
    return {next(queue for queue in QUEUES if name.startswith(queue)) for name in names}


def test_each_role_sends_only_where_its_process_does(full):
    # The function's retry of a direct or S3 invocation; the worker's messages come back by their visibility.
    assert sends_to(full, "ScoreProcessing") == {"Request", "RequestDeadLetters", "Response"}
    assert sends_to(full, "Worker") == {"RequestDeadLetters", "Response"}
    assert sends_to(full, "Sweeper") == {"Request"}
    assert sends_to(full, "Api") == {"Request"}


def test_the_sweeper_cannot_take_messages_or_touch_attachments(staging):
    may = allowed(staging, "Sweeper")
    assert "sqs:SendMessage" in may
    assert not {"sqs:ReceiveMessage", "sqs:DeleteMessage", "s3:GetObject", "s3:PutObject"} & may


def test_no_one_deletes_rows_or_objects(staging):
    everything = {action for statement in staging.statements() for action in actions(statement)}
    assert not {"dynamodb:DeleteItem", "dynamodb:Scan", "s3:DeleteObject"} & everything


def test_the_sweeper_only_reads_rows_and_counts_and_sends_messages(staging):
    (role,) = [name for name in staging.of_type("AWS::IAM::Role") if name.startswith("Sweeper")]
    allowed = set()
    for policy in staging.of_type("AWS::IAM::Policy").values():
        if {"Ref": role} in policy["Properties"]["Roles"]:
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                allowed.update(actions(statement))
    assert {action for action in allowed if action.startswith(("dynamodb:", "sqs:"))} == {
        "dynamodb:BatchGetItem",
        "dynamodb:DescribeTable",
        "dynamodb:GetItem",
        "dynamodb:Query",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
    }


def test_only_what_scores_may_ask_the_named_models_and_read_the_customers_secret(full):
    asks = [s for s in full.statements() if "bedrock:InvokeModel" in actions(s)]
    places = {json.dumps(place) for s in asks for place in s["Resource"]}
    assert len(asks) == 2  # the scoring function and the worker
    named = {place.rpartition("/")[2].rstrip('"]}') for place in places}
    assert named == {
        "anthropic.claude-v2",
        "anthropic.claude-sonnet-4-20250514-v1:0",
        "eu.anthropic.claude-sonnet-4-20250514-v1:0",
    }
    keys = [s for s in full.statements() if actions(s) == ["kms:Decrypt"]]
    assert {s["Resource"] for s in keys} == {"arn:aws:kms:us-east-1:111122223333:key/0a1b-2c"}
    assert all("kms:ViaService" in s["Condition"]["StringEquals"] for s in keys)


# --- Alarms ---


def test_alarms_on_what_loses_delays_or_costs(staging):
    alarms = {
        a["Properties"]["AlarmName"].removeprefix("plexus-scoring-staging-"): a["Properties"]
        for a in staging.of_type("AWS::CloudWatch::Alarm").values()
    }
    assert set(alarms) == {
        "RequestDeadLetters",
        "ResponseDeadLetters",
        "OldestMessage",
        "ErrorRate",
        "FailedJobs",
        "SweeperErrors",
        "SweeperSilent",
        "Throttles",
        "DurationNearTimeout",
        "CostPerHour",
    }
    silent = alarms.pop("SweeperSilent")
    assert (silent["ComparisonOperator"], silent["Threshold"]) == ("LessThanThreshold", 1)
    assert (silent["TreatMissingData"], silent["Period"]) == ("breaching", 900)
    for alarm in alarms.values():
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
    assert alarms["RequestDeadLetters"]["Threshold"] == 0
    (share,) = [m for m in alarms["FailedJobs"]["Metrics"] if "Expression" in m]
    assert ">= 20" in share["Expression"]  # one bad job at night is no alarm
    assert alarms["DurationNearTimeout"]["Threshold"] == 0.9 * 300_000
    assert alarms["DurationNearTimeout"]["ExtendedStatistic"] == "p99"
    assert alarms["CostPerHour"]["Period"] == 3600


def test_alarms_send_an_email_through_a_topic_that_takes_no_plain_text(staging):
    subscription = staging.one("AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "on-call@example.com")
    (topic,) = staging.of_type("AWS::SNS::Topic")
    assert "KmsMasterKeyId" in staging["Resources"][topic]["Properties"]
    for alarm in staging.of_type("AWS::CloudWatch::Alarm").values():
        if "AlarmActions" in alarm["Properties"]:
            assert alarm["Properties"]["AlarmActions"] == [{"Ref": topic}]


def test_alarms_call_someone(full):
    for alarm in full.of_type("AWS::CloudWatch::Alarm").values():
        if "AlarmActions" in alarm["Properties"]:
            assert alarm["Properties"]["AlarmActions"]
    called = [
        a for a in full.of_type("AWS::CloudWatch::Alarm").values() if "OKActions" in a["Properties"]
    ]
    assert len(called) == 10


def test_dashboards_and_alarms_use_the_services_metric_names(staging):
    from plexus_scoring.telemetry import names

    known = {value for key, value in vars(names).items() if key.isupper()}
    used = set()

    def collect(value):
        if isinstance(value, str):
            used.update(
                word.strip('\\"')
                for word in value.replace(",", " ").split()
                if "plexus_scoring_" in word
            )
        elif isinstance(value, dict):
            any(map(collect, value.values()))
        elif isinstance(value, list):
            any(map(collect, value))

    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"):
        collect([r["Properties"] for r in staging.of_type(kind).values()])
    found = {name for text in used for name in known if name in text}
    assert {"plexus_scoring_jobs_total", "plexus_scoring_llm_cost_usd_total"} <= found
    unknown = [text for text in used if not any(name in text for name in known)]
    assert unknown == []


def test_the_dashboard_shows_every_outcome(staging):
    require_cdk()
    from infrastructure.constructs.dashboard import OUTCOMES
    from plexus_scoring.telemetry import names

    told = {value for name, value in vars(names).items() if name.startswith("OUTCOME_")}
    assert set(OUTCOMES) == told


def test_the_cost_alarm_watches_the_metric_that_the_function_writes(staging, capsys):
    """The namespace and dimensions of a metric are part of its name: one that differs never has data."""
    from plexus_scoring.telemetry import names
    from plexus_scoring.telemetry.emf import EmfMetrics

    function = staging.one(
        "AWS::Lambda::Function", FunctionName="plexus-scoring-staging-score-processing"
    )
    variables = function["Environment"]["Variables"]
    metrics = EmfMetrics(
        namespace=variables["PLEXUS_METRICS_NAMESPACE"], environment=variables["PLEXUS_ENVIRONMENT"]
    )
    metrics.count(names.COST_USD, 0.25)  # as `ScoringService` counts it, without labels
    metrics.flush()
    blobs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    written = set()
    for blob in blobs:
        (directive,) = blob["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]:
            for metric in directive["Metrics"]:
                values = tuple(sorted((name, blob[name]) for name in dimensions))
                written.add((directive["Namespace"], metric["Name"], values))
    alarm = staging.one("AWS::CloudWatch::Alarm", AlarmName="plexus-scoring-staging-CostPerHour")
    dimensions = tuple(sorted((d["Name"], d["Value"]) for d in alarm["Dimensions"]))
    assert (alarm["Namespace"], alarm["MetricName"], dimensions) in written


# --- Optional parts ---


def test_tasks_run_without_root_on_a_read_only_file_system(full):
    for task in full.of_type("AWS::ECS::TaskDefinition").values():
        (container,) = task["Properties"]["ContainerDefinitions"]
        assert container["User"] == "1001"
        assert container["ReadonlyRootFilesystem"] is True
        assert container["StopTimeout"] >= 110
        assert container["Image"]["Fn::Join"][1][-2].endswith("@")


def test_a_deployment_does_not_reset_how_many_tasks_there_are(full):
    for service in full.of_type("AWS::ECS::Service").values():
        assert "DesiredCount" not in service["Properties"]


def test_the_worker_scales_with_the_queue(full):
    (policy, *_) = [
        p["Properties"]
        for p in full.of_type("AWS::ApplicationAutoScaling::ScalingPolicy").values()
        if p["Properties"]["PolicyType"] == "StepScaling"
    ]
    assert policy["StepScalingPolicyConfiguration"]["AdjustmentType"] == "ChangeInCapacity"
    depth = [
        a["Properties"]
        for a in full.of_type("AWS::CloudWatch::Alarm").values()
        if a["Properties"].get("MetricName") == "ApproximateNumberOfMessagesVisible"
        and "AlarmName" not in a["Properties"]
    ]
    assert {alarm["Threshold"] for alarm in depth} == {0, 1}


def test_the_api_is_https_only(full):
    listener = full.one("AWS::ElasticLoadBalancingV2::Listener")
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert full.one("AWS::ElasticLoadBalancingV2::TargetGroup")["HealthCheckPath"] == "/readyz"
    assert full.one("AWS::ElasticLoadBalancingV2::LoadBalancer")["Scheme"] == "internal"
