"""deploy/terraform applied to moto, then the service and the jobs on exactly what it made (`make test-deploy`)."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_app.catalog.ddl import create_view
from streaming_app.catalog.tables import Mode, properties, table_of
from streaming_app.metrics.cloudwatch import SENT
from streaming_app.producer import events
from streaming_app.producer.samples import write_samples
from tests.deploy import tools
from tests.deploy.account import JOBS, Account
from tests.deploy.permissions import grants, missing, needs_of, unused
from tests.deploy.recording import REPOSITORY, recording_moto
from tests.deploy.terraform import Terraform
from tests.deploy.tools import needs
from tests.lake.trino_server import HOME, trino_server
from tests.moto_server import CREDENTIALS

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(3600),
    tools.TERRAFORM,
]
WORK = REPOSITORY / "build" / "deploy"
ROLES = ("streaming", *JOBS)
UNEXERCISED = yaml.safe_load((Path(__file__).parent / "unexercised.yaml").read_text())


@pytest.fixture(scope="session")
def account():
    folder = WORK / "course"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    calls = folder / "calls.jsonl"
    calls.touch()
    with recording_moto(calls) as aws:
        account = Account(aws, Terraform(folder / "checkout", aws.url), folder)
        account.terraform.init()
        account.terraform.apply(**account.everything())
        account.outputs, account.resources = account.terraform.outputs(), account.terraform.resources()
        account.note_what_is_there()
        use(account)
        account.terraform.change(**account.everything(), streaming_enabled=False)
        account.portfolio_outputs = account.terraform.outputs()
        account.portfolio_resources = account.terraform.resources()
        query(account)
        account.trino_answers = ask_trino(account, "trino")
        project(account)
        yield account


def use(account: Account) -> None:
    """Rows by both ways in, a second start that archives what the first one read, then every batch job."""
    samples = account.folder / "samples"
    write_samples(samples, 7)
    account.produce()
    account.upload("orders.csv", (samples / "orders.csv").read_bytes())
    account.run("first run", "streaming", "streaming_app", "run", "--available-now")
    account.upload("bad_orders.csv", (samples / "bad_orders.csv").read_bytes())
    account.run("second run", "streaming", "streaming_app", "run", "--available-now")
    account.remove("raw/bad_orders.csv")  # the gate would refuse it
    write_samples(samples, 8)
    account.upload("more.csv", (samples / "orders.csv").read_bytes())
    copied = b"\n".join(event.payload for event in events(8, start=datetime.now(UTC), count=200))
    account.upload("2026/03/01/00/qsr-orders-raw-1", gzip.compress(copied), below="raw_stream")
    for job in ("ingest", "backfill", "compact"):
        account.run(job, job, *account.command_of(job))
    account.moved = account.places()
    refuse(account, samples / "bad_orders.csv")
    leave_over(account)
    for job in ("vacuum", "audit", "catalog"):
        account.run(job, job, *account.command_of(job))
    account.settled = account.places()


def refuse(account: Account, file: Path) -> None:
    """An upload that the gate refuses, with somebody behind the topic."""
    sns, sqs = account.aws.client("sns"), account.aws.client("sqs")
    queue = sqs.create_queue(QueueName="somebody")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=account.outputs["topic_arn"], Protocol="sqs", Endpoint=arn)
    account.upload(file.name, file.read_bytes())
    account.run("refused", "ingest", "batch_app", "ingest", f"{account.outputs['uploads_uri']}{file.name}")
    account.told = [message["Body"] for message in sqs.receive_message(QueueUrl=queue).get("Messages", [])]
    account.remove(f"raw/{file.name}")


def leave_over(account: Account) -> None:
    """What killed writers leave: an upload that nobody will complete, and a file of the sink's kind that no ledger knows."""
    s3, folder = account.aws.client("s3"), account.keys("clean/")[0].rsplit("/", 1)[0]
    for name in ("upload", "orphan"):
        account.left_over[name] = f"{folder}/part-kinesis-{name[0].encode().hex():0>32}.parquet"
    s3.create_multipart_upload(Bucket=account.lake_bucket, Key=account.left_over["upload"])
    s3.put_object(Bucket=account.lake_bucket, Key=account.left_over["orphan"], Body=b"nobody's")


def query(account: Account) -> None:
    """The lake's own queries, after the stream has gone."""
    for name in sorted(file.stem for file in (REPOSITORY / "conf/queries").glob("*.sql")):
        account.run(f"query {name}", "person", "batch_app", "query", "--named", name, "--json")
    account.run("audit in portfolio mode", "audit", *account.command_of("audit"))


def project(account: Account) -> None:
    """The same lake once more with the defaults: partitions are computed, and nothing but the tables says which there are."""
    changed = {**account.everything(), "partitions": "projection", "crawler_schedule": None, "streaming_enabled": False}
    account.terraform.change(**changed)
    glue, database = account.aws.client("glue"), account.outputs["database"]
    for table in account.outputs["tables"]:
        for one in glue.get_partitions(DatabaseName=database, TableName=table)["Partitions"]:
            glue.delete_partition(DatabaseName=database, TableName=table, PartitionValues=one["Values"])
    account.projected_answers = ask_trino(account, "trino-with-projection")


def ask_trino(account: Account, folder: str) -> dict[str, list[list[Any]]]:
    """The text of each named query as Terraform gave it to Athena, on the tables that Terraform made."""
    if not HOME.exists():
        return {}
    answers = {}
    athena, database = account.aws.client("athena"), account.outputs["database"]
    with trino_server(account.folder / folder, account.aws.url) as trino:
        for name, number in account.outputs["named_queries"].items():
            sql = athena.get_named_query(NamedQueryId=number)["NamedQuery"]["QueryString"]
            answers[name] = trino.ask(re.sub(r"\b(clean|dead_letter)\b(?= |\n|$)", rf"{database}.\1", sql))
    return answers


def test_everything_that_was_asked_for_is_made(account):
    kinds = {address.split(".")[-2] for address in account.resources if not address.startswith("data.")}
    assert {
        "aws_athena_named_query", "aws_athena_workgroup", "aws_budgets_budget", "aws_cloudwatch_dashboard",
        "aws_cloudwatch_metric_alarm", "aws_glue_catalog_database", "aws_glue_catalog_table", "aws_glue_crawler", "aws_glue_job",
        "aws_glue_trigger", "aws_iam_role_policy", "aws_instance", "aws_kinesis_firehose_delivery_stream", "aws_kinesis_stream",
        "aws_kms_key", "aws_s3_bucket_lifecycle_configuration", "aws_sns_topic", "aws_sqs_queue", "aws_vpc",
    } <= kinds  # fmt: skip


def test_service_reads_both_ways_in_with_the_configuration_that_terraform_wrote(account):
    for name in ("first run", "second run"):
        assert account.ran[name].code == 0, account.ran[name].log[-4000:]
    for table in ("clean", "dead_letter"):
        for source in ("stream", "batch"):
            assert account.keys(f"{table}/input_source={source}/"), (table, source)
    assert account.keys("archive/"), "the second run archives what the first one read"


@pytest.mark.parametrize("job", JOBS)
def test_batch_job_does_its_work_on_what_terraform_made(account, job):
    assert account.ran[job].code == 0, account.ran[job].out[-3000:] + account.ran[job].log[-3000:]


def test_audit_in_portfolio_mode_still_finds_every_row_in_one_place(account):
    ran = account.ran["audit in portfolio mode"]
    assert ran.code == 0, ran.out[-3000:] + ran.log[-3000:]


def test_tables_are_those_that_the_sink_writes(account, orders):
    for name, table in account.tables.items():
        wanted = table_of(name, orders, account.outputs["lake_uri"])
        columns = [(c["Name"], c["Type"], c.get("Comment", "")) for c in table["StorageDescriptor"]["Columns"]]
        assert columns == list(wanted.columns)
        assert [(c["Name"], c["Type"]) for c in table["PartitionKeys"]] == [c[:2] for c in wanted.partitions]
        assert table["StorageDescriptor"]["Location"] == wanted.location


def test_each_new_partition_is_registered(account):
    folders = {key.rsplit("/", 1)[0] for key in account.keys("clean/")}
    assert set(account.settled) == folders


def test_readers_are_sent_to_compacted_files_and_by_vacuum_back_after_the_grace_period(account):
    assert any(place.startswith("lake/compacted/") for place in account.moved.values())
    assert account.settled
    assert all(place == folder for folder, place in account.settled.items())
    assert account.keys("compacted/") == []


def test_vacuum_removes_what_killed_writers_left(account):
    assert account.left_over["orphan"] not in account.keys("clean/")
    uploads = account.aws.client("s3").list_multipart_uploads(Bucket=account.lake_bucket).get("Uploads", [])
    assert account.left_over["upload"] not in {upload["Key"] for upload in uploads}


def test_projection_has_the_properties_that_the_service_expects(account, orders):
    planned = account.terraform.plan(partitions="projection", projection_since="2026-01-01")
    root = account.outputs["lake_uri"]
    for name in ("clean", "dead_letter"):
        wanted = properties(table_of(name, orders, root), Mode.PROJECTION, date(2026, 1, 1))
        found = planned[f'module.catalog.aws_glue_catalog_table.this["{name}"]']["parameters"]
        assert {key: found[key] for key in wanted if "template" not in key} == {
            key: value for key, value in wanted.items() if "template" not in key
        }


def whole(policy) -> list[str]:
    """Each grant with its condition; in what order a policy has them says nothing."""
    return sorted(f"{grant.name} {grant.resource} {_in_order(grant.conditions)}" for grant in grants(policy))


def _in_order(conditions) -> str:
    return json.dumps(
        {kind: {key: sorted(_listed(values)) for key, values in keys.items()} for kind, keys in conditions.items()}
    )


def test_policies_for_roles_that_are_made_elsewhere_are_those_of_the_roles_here(account):
    made = {**{role: account.policies[role] for role in ROLES}, "airflow": account.airflow_policy}
    assert set(account.outputs["policies"]) == set(made)
    for role, policy in made.items():
        own = [grant for grant in whole(policy) if not grant.startswith("OwnLogs ")]  # Glue's, of the job's own log
        assert whole(account.outputs["policies"][role]) == own


def test_names_that_all_regions_share_tell_the_region(account):
    iam = account.aws.client("iam")
    names = [role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]]
    names += [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]]
    assert len(names) > len(JOBS)
    assert [name for name in names if "us-east-1" not in name] == []


@pytest.mark.parametrize("role", ROLES)
def test_role_allows_every_call_that_its_job_made(account, role):
    calls = account.calls(role)
    assert calls
    assert missing(needs_of(calls), grants(account.policies[role])) == []


@pytest.mark.parametrize("role", ROLES)
def test_role_grants_nothing_that_its_job_does_not_take_but_for_a_list_with_reasons(account, role):
    found = {grant.name for grant in unused(needs_of(account.calls(role)), grants(account.policies[role]))}
    listed = {**UNEXERCISED["every job"], **UNEXERCISED[role]}
    assert found - set(listed) == set(), (
        f"{role} may do what it never does: grant it no more, or say why in unexercised.yaml"
    )


def test_each_unexercised_permission_is_granted_and_has_a_reason(account):
    for role in ROLES:  # airflow: test_airflow.py
        granted = {grant.name for grant in grants(account.policies[role])}
        assert set(UNEXERCISED[role]) - granted == set(), f"{role}: the list names what is not granted"
        assert all(len(str(reason)) > 8 for reason in UNEXERCISED[role].values())


def test_alarms_are_the_alerts_of_the_runbook_on_metrics_that_are_sent(account):
    alerts = yaml.safe_load((REPOSITORY / "deploy/monitoring/alerts.yml").read_text())
    wanted = {rule["alert"]: rule["labels"]["severity"] for group in alerts["groups"] for rule in group["rules"]}
    found = {alarm["AlarmName"].split("-")[1]: alarm for alarm in account.alarms}
    assert set(found) == set(wanted)
    for name, severity in wanted.items():
        topic = found[name]["AlarmActions"][0]
        assert topic.endswith("tickets") == (severity == "ticket"), name


def test_alarms_and_dashboard_speak_of_metrics_as_the_service_sends_them(account):
    sent = {metric.name.replace("_timestamp_seconds", "_age_seconds"): set(metric.labels) for metric in SENT}
    asked = [
        (query["MetricStat"]["Metric"]["MetricName"], query["MetricStat"]["Metric"].get("Dimensions", []))
        for alarm in account.alarms
        for query in alarm.get("Metrics", [])
        if "MetricStat" in query
    ]
    assert len(asked) > len(account.alarms)
    for name, dimensions in asked:
        assert {each["Name"] for each in dimensions} == sent[name], name
    for widget in account.dashboard["widgets"]:
        for _, name, *pairs in widget["properties"]["metrics"]:
            assert set(pairs[::2]) == sent[name], name


def allowed(document: str, service: str) -> list[str]:
    """What a policy lets a service do without a condition."""
    found = [one for one in json.loads(document)["Statement"] if one["Principal"] == {"Service": service}]
    assert all(one["Effect"] == "Allow" and "Condition" not in one for one in found)
    return sorted(action for one in found for action in _listed(one["Action"]))


def _listed(value) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_failed_jobs_event_reaches_the_encrypted_topic_for_tickets_in_portfolio_mode_too(account):
    (target,) = account.aws.client("events").list_targets_by_rule(Rule="qsr-failed-jobs")["Targets"]
    topic = f"{account.outputs['topic_arn']}-tickets"
    assert target["Arn"] == topic
    policy = account.aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    assert allowed(policy, "events.amazonaws.com") == ["sns:Publish"]
    page = account.aws.client("sns").get_topic_attributes(TopicArn=account.outputs["topic_arn"])["Attributes"]["Policy"]
    assert allowed(page, "events.amazonaws.com") == []
    kms = account.aws.client("kms")
    key = kms.get_key_policy(KeyId=kms.describe_key(KeyId="alias/qsr")["KeyMetadata"]["KeyId"], PolicyName="default")
    assert allowed(key["Policy"], "events.amazonaws.com") == ["kms:Decrypt", "kms:GenerateDataKey*"]


def test_portfolio_mode_takes_the_stream_away_and_nothing_else(account):
    gone = account.resources - account.portfolio_resources
    assert {address.split("[")[0] for address in gone} >= {"module.stream", "module.streaming_job"}
    kept = ("module.lake.", "module.work.", "module.catalog.", "module.queries.", "module.batch_job[")
    assert not [address for address in gone if address.startswith(kept)]
    assert account.aws.client("kinesis").list_streams()["StreamNames"] == []
    assert not account.portfolio_outputs.get("stream")


def test_queries_answer_in_portfolio_mode(account):
    answered = {name: ran for name, ran in account.ran.items() if name.startswith("query ")}
    assert len(answered) == len(account.outputs["named_queries"])
    for name, ran in answered.items():
        assert ran.code == 0, f"{name}: {ran.log}"
        assert json.loads(ran.out), name


@needs(HOME.exists(), "a Trino: make build/trino/server build/trino/java")
def test_trino_answers_the_named_queries_on_terraforms_tables_as_duckdb_does(account):
    assert set(account.trino_answers) == set(account.outputs["named_queries"])
    for name in ("sales_by_input_source", "top_items"):
        asked = json.loads(account.ran[f"query {name}"].out)
        orders = "total_orders" if name == "sales_by_input_source" else "orders"
        column = list(asked[0]).index(orders)
        assert sum(row[column] for row in account.trino_answers[name]) == sum(row[orders] for row in asked)
    assert all(account.trino_answers.values())


@needs(HOME.exists(), "a Trino: make build/trino/server build/trino/java")
def test_trino_answers_alike_where_partitions_are_computed(account):
    for name in ("sales_by_input_source", "top_items", "revenue_by_city_and_day", "dead_letters_by_reason"):
        assert account.projected_answers[name] == account.trino_answers[name]


def test_ingest_that_the_gate_refuses_reaches_who_listens_to_the_topic(account):
    assert account.ran["refused"].code == 3, account.ran["refused"].log[-3000:]
    (told,) = account.told
    assert "bad_orders.csv" in told


def test_statements_of_the_views_are_those_of_catalog_ddl(account):
    athena, database = account.aws.client("athena"), account.outputs["database"]
    assert set(account.outputs["views"]) == set(account.outputs["named_queries"])
    for name, number in account.outputs["views"].items():
        made = athena.get_named_query(NamedQueryId=number)["NamedQuery"]["QueryString"]
        assert made == create_view(name, (REPOSITORY / f"conf/queries/{name}.sql").read_text().strip(), database)


def fetched(account, folder: Path) -> list[str]:
    """What the Airflow host's own script brings to a folder, by the host's role."""
    script = REPOSITORY / "deploy/terraform/modules/airflow/fetch.py"
    command = [sys.executable, script, account.outputs["work_bucket"], "artifacts/airflow", folder]
    environment = {**os.environ, **CREDENTIALS, "AWS_ACCESS_KEY_ID": "airflow", "AWS_ENDPOINT_URL": account.aws.url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_airflow_host_fetches_dags_and_what_terraform_made(account, tmp_path):
    dags = {f"dags/{file.name}" for file in (REPOSITORY / "deploy/airflow/dags").iterdir() if file.is_file()}
    assert "dags/.airflowignore" in dags, "without it Airflow takes the shared modules for DAGs"
    assert set(fetched(account, tmp_path)) == {"variables.json", "requirements.txt"} | dags
    told = json.loads((tmp_path / "variables.json").read_text())["qsr"]
    assert told == {name: account.portfolio_outputs[name] for name in told}
    assert {"lake_uri", "config_uri", "jobs", "named_queries", "topic_arn"} <= set(told)
    assert fetched(account, tmp_path) == [], "what is as it was is left alone"
    (tmp_path / "dags" / "gone.py").parent.mkdir(exist_ok=True)
    (tmp_path / "dags" / "gone.py").touch()
    assert fetched(account, tmp_path) == ["dags/gone.py"]
    document = account.aws.client("iam").get_role_policy(RoleName="qsr-airflow-us-east-1", PolicyName="airflow")
    assert missing(needs_of(account.calls("airflow")), grants(document["PolicyDocument"])) == []


def test_airflow_host_is_reached_by_ssm_only_and_its_first_start_is_a_shell_script(account, tmp_path):
    ec2 = account.aws.client("ec2")
    (instance,) = ec2.describe_instances()["Reservations"][0]["Instances"]
    named = [{"Name": "group-name", "Values": ["qsr-airflow"]}]  # moto gives the machine its default group beside it
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    assert group["IpPermissions"] == []
    assert "KeyName" not in instance
    told = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    script = tmp_path / "first_start.sh"
    script.write_bytes(base64.b64decode(told["UserData"]["Value"]))
    subprocess.run(["bash", "-n", script], check=True)
    apt = re.findall(r"apt-get .*", script.read_text())
    assert all("DPkg::Lock::Timeout=" in line for line in apt), (
        "Ubuntu's own updates hold the lock in the first minutes"
    )
    assert f"fetch.py '{account.outputs['work_bucket']}' 'artifacts/airflow'" in script.read_text()


def test_buckets_are_private_encrypted_versioned_over_tls_only_and_throw_away_what_nobody_completes(account):
    s3 = account.aws.client("s3")
    for bucket in (account.lake_bucket, account.outputs["work_bucket"]):
        assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"  # as kms_enabled is on
        (policy,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        assert policy["Effect"] == "Deny"
        assert policy["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        rules = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
        assert rules["incomplete-uploads"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    assert rules["results"]["Expiration"]["Days"] == 7, "query results expire"


def test_queries_cannot_run_away(account):
    told = account.aws.client("athena").get_work_group(WorkGroup=account.outputs["workgroup"])
    made = told["WorkGroup"]["Configuration"]
    assert made["EnforceWorkGroupConfiguration"]
    assert made["BytesScannedCutoffPerQuery"] == 10 * 2**30
    assert made["ResultConfiguration"]["EncryptionConfiguration"]["EncryptionOption"] == "SSE_KMS"


def test_firehose_copies_the_stream_in_gzip_and_keeps_what_it_cannot_deliver_beside_the_lake(account):
    planned = account.terraform.plan()["module.stream[0].aws_kinesis_firehose_delivery_stream.raw"]
    (made,) = planned["extended_s3_configuration"]
    assert (made["compression_format"], made["buffering_size"], made["buffering_interval"]) == ("GZIP", 64, 300)
    assert made["prefix"].startswith("lake/raw_stream/")
    assert made["error_output_prefix"].startswith("lake_errors/")


def test_every_noun_of_a_streaming_job_that_lasts(account):
    planned = account.terraform.plan()["module.streaming_job[0].aws_glue_job.this"]
    assert planned["maintenance_window"] == "Sun:20"  # which moto forgets
    streaming = account.job_definitions["streaming"]
    assert planned["max_retries"] == 0, "retries know no exit code: they would start what must not be started"
    arguments = streaming["DefaultArguments"]
    assert arguments["--enable-auto-scaling"] == arguments["--enable-metrics"] == "true"
    assert arguments["--additional-python-modules"].endswith(".gluewheels.zip")
    assert arguments["--custom-logGroup-prefix"] == "/aws-glue/jobs/qsr-streaming"


def test_jobs_are_those_that_were_promised(account):
    assert set(account.outputs["jobs"]) == {"streaming", *JOBS}
    streaming = account.job_definitions["streaming"]
    assert streaming["GlueVersion"] == "6.0"
    assert streaming["Command"]["Name"] == "gluestreaming"
    assert streaming["DefaultArguments"]["--CONFIG"] == account.outputs["config_uri"]
    assert streaming["Timeout"] == 10080


def test_no_role_has_a_wildcard_where_aws_knows_a_resource(account):
    everywhere = {
        grant.action for policy in account.policies.values() for grant in grants(policy) if grant.resource == "*"
    }
    assert everywhere == {"cloudwatch:PutMetricData"}


def test_private_network_has_endpoints_and_no_way_out(account):
    planned = account.terraform.plan(
        network="private", stream_mode="on-demand", enhanced_fan_out=True, file_events_enabled=True, csv_discovery="sqs"
    )
    assert not [address for address in planned if "nat_gateway" in address or "internet_gateway" in address]
    routes = [address for address in planned if ".aws_route." in address]
    assert routes == []
    services = {address.split('"')[1] for address in planned if 'aws_vpc_endpoint.service["' in address}
    assert services == {"glue", "kinesis-streams", "logs", "monitoring", "sns", "sqs", "sts"}
    assert planned["module.stream[0].aws_kinesis_stream.this"]["stream_mode_details"][0]["stream_mode"] == "ON_DEMAND"
    assert planned["module.streaming_job[0].aws_glue_job.this"]["connections"] == ["qsr-private"]


def test_defaults_make_neither_machine_nor_network_nor_key(account):
    planned = account.terraform.plan()
    costly = (
        "aws_instance",
        "aws_vpc",
        "aws_kms_key",
        "aws_sqs_queue",
        "aws_glue_crawler",
        "aws_budgets_budget",
        "aws_vpc_endpoint",
    )
    assert not [address for address in planned for kind in costly if f".{kind}." in address]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"name": "Q"}, "small letters"),
        ({"partitions": "crawled"}, "registered or projection"),
        ({"crawler_schedule": "cron(0 3 * * ? *)"}, "registered partitions"),
        ({"network": "private", "airflow_enabled": True}, 'network = "public"'),
        ({"stream_retention_hours": 12}, "24 to 8760"),
        ({"streaming_job": {"workers": 1}}, "two workers"),
        ({"batch_jobs": {"sweep": {}}}, "Jobs are"),
        ({"csv_discovery": "sqs"}, "file_events_enabled = true"),
        ({"bundle": "nowhere.txt"}, "make glue-wheels"),
    ],
)
def test_variables_that_make_no_sense_are_refused_with_a_reason(account, variables, said):
    assert said in account.terraform.refused(**variables)


def test_service_reads_the_queue_of_uploads_where_it_is_told_to_and_no_job_else(account):
    assert [name for name, policy in account.policies.items() if "sqs:" in policy] == ["streaming"]
    bucket, _, key = account.outputs["config_uri"].removeprefix("s3://").partition("/")
    made = yaml.safe_load(account.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())["sources"]["csv"]
    assert (made["discovery"], made["queue_url"]) == ("sqs", account.outputs["file_events_queue"])
    assert made["after_commit"] == "archive"
