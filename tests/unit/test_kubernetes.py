"""deploy/kubernetes fits the Dockerfile, conf/ and the command lines; `make test-kubernetes` asks Kubernetes' own schemas."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_app import cli as batch_cli
from streaming_app import __version__
from streaming_app import cli as streaming_cli
from streaming_app.arguments import load_all
from streaming_app.metrics.access import OPEN
from tests.dockerfile import REPOSITORY, instructions

FOLDER = REPOSITORY / "deploy" / "kubernetes"
DOCKER = dict(instructions())  # the last of each word: the final stage's
ENVIRONMENT = dict(pair.split("=", 1) for pair in shlex.split(DOCKER["ENV"]))
PRODUCTION = (REPOSITORY / "conf" / "production.yaml").read_text()


def documents(name: str) -> list[dict[str, Any]]:
    """What stands in a file, lists taken apart."""
    found = [each for each in yaml.safe_load_all((FOLDER / name).read_text()) if each]
    return [item for each in found for item in (each["items"] if each["kind"] == "List" else [each])]


(DEPLOYMENT,) = documents("deployment.yaml")
CRONS = documents("batch.yaml")
TEMPLATES = {
    each["metadata"]["name"]: each["spec"]["template"]
    if each["kind"] == "Deployment"
    else each["spec"]["jobTemplate"]["spec"]["template"]
    for each in (DEPLOYMENT, *CRONS)
}
SETTINGS = dict(
    line.split("=", 1) for line in (FOLDER / "settings.env").read_text().splitlines() if line and line[0] != "#"
)


def container_of(template: dict[str, Any]) -> dict[str, Any]:
    (container,) = template["spec"]["containers"]
    return container


@pytest.fixture(params=TEMPLATES, name="template")
def every_template(request):
    return TEMPLATES[request.param]


def test_pod_has_the_images_user_and_can_do_nothing_more(template):
    pod, container = template["spec"], container_of(template)
    assert str(pod["securityContext"]["runAsUser"]) == DOCKER["USER"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["limits"])


def test_only_scratch_is_writable_and_it_is_where_the_image_spills(template):
    mounts = {mount["name"]: mount for mount in container_of(template)["volumeMounts"]}
    writable = [mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")]
    assert writable == [ENVIRONMENT["SPARK_LOCAL_DIRS"]]
    assert {"emptyDir", "configMap"} == {next(k for k in v if k != "name") for v in template["spec"]["volumes"]}


def test_configuration_is_put_where_the_command_and_production_yaml_look(template):
    made = yaml.safe_load((REPOSITORY / "conf" / "kustomization.yaml").read_text())["configMapGenerator"][0]
    files = dict(file.split("=") if "=" in file else (file, file) for file in made["files"])
    (volume,) = (volume for volume in template["spec"]["volumes"] if volume["name"] == "conf")
    assert volume["configMap"]["name"] == made["name"]
    placed = {item["path"]: files[item["key"]] for item in volume["configMap"]["items"]}
    production = yaml.safe_load(PRODUCTION)
    assert set(placed) == {"production.yaml", production["dataset"], production["suite"]}
    assert all(path == source and (REPOSITORY / "conf" / source).is_file() for path, source in placed.items())
    (mount,) = (mount for mount in container_of(template)["volumeMounts"] if mount["name"] == "conf")
    assert mount["mountPath"] == f"{DOCKER['WORKDIR']}/conf"


def test_arguments_are_those_of_the_commands(template):
    program, *arguments = container_of(template)["args"]
    parser = {"streaming_app": streaming_cli, "batch_app": batch_cli}[program]._parser()
    assert parser.parse_args(arguments).config == "conf/production.yaml"


def test_deployment_starts_as_the_image_does_and_once():
    assert container_of(DEPLOYMENT["spec"]["template"])["args"] == json.loads(DOCKER["CMD"])
    assert DEPLOYMENT["spec"]["replicas"] == 1
    assert DEPLOYMENT["spec"]["strategy"] == {"type": "Recreate"}, "two services would share a checkpoint"


def test_stop_is_waited_for():
    stop = re.search(r"stop_timeout: (\d+)m", PRODUCTION)
    assert stop
    assert DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > int(stop[1]) * 60


def test_probes_and_scrapers_ask_what_is_open_on_the_port_that_is_served():
    template = DEPLOYMENT["spec"]["template"]
    container = container_of(template)
    (port,) = container["ports"]
    assert str(port["containerPort"]) == ENVIRONMENT["QSR_METRICS_PORT"] == DOCKER["EXPOSE"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert all(probe["port"] == port["name"] and probe["path"] in OPEN for probe in probes.values())
    assert (probes["liveness"]["path"], probes["readiness"]["path"]) == ("/healthz", "/readyz")
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    (monitor,) = documents("podmonitor/podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], annotations["prometheus.io/path"])
    assert monitor["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]


def test_prometheus_knows_the_pod_by_the_job_that_the_alerts_look_at():
    """Without a relabelling the operator calls it NAMESPACE/NAME, and `up` of another name can never be 0."""
    (monitor,) = documents("podmonitor/podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    given = {each["targetLabel"]: each["replacement"] for each in endpoint.get("relabelings", ())}
    looked_at = set(re.findall(r'\bjob="([^"]+)"', (REPOSITORY / "deploy/monitoring/alerts.yml").read_text()))
    assert {given.get("job")} == looked_at
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    page = (REPOSITORY / "docs/monitoring.md").read_text()  # what those need who scrape by annotations
    assert ";".join(labels[f"app.kubernetes.io/{name}"] for name in ("name", "component")) in page


def test_policy_is_about_every_pod_and_shuts_the_nodes_metadata(template):
    (policy,) = documents("networkpolicy.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (block,) = (to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to)
    assert block["except"] == ["169.254.0.0/16"]


def test_settings_are_what_production_yaml_takes_and_pass_its_check(monkeypatch):
    taken = set(re.findall(r"\$\{(\w+)", PRODUCTION))
    assert set(SETTINGS) <= taken
    for name, value in {**ENVIRONMENT, **SETTINGS}.items():
        monkeypatch.setenv(name, value)
    loaded, _ = load_all(str(REPOSITORY / "conf" / "production.yaml"), [])
    assert loaded.config.metrics.host == "0.0.0.0"  # noqa: S104 - probes come from the node
    assert loaded.config.spark.master == "local[*,4]"


def test_image_is_this_version():
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert image["newTag"] == __version__
    assert all(container_of(template)["image"] == image["name"] for template in TEMPLATES.values())


def test_cluster_opens_the_ports_that_it_tells_spark_and_its_settings_are_known(monkeypatch):
    (patch,) = yaml.safe_load_all((FOLDER / "cluster/deployment.yaml").read_text())
    (environment, *arguments) = (each["value"] for each in patch)
    for name, value in {**ENVIRONMENT, **SETTINGS}.items():
        monkeypatch.setenv(name, value)
    for entry in environment:
        monkeypatch.setenv(entry["name"], entry.get("value", "10.0.0.7"))
    command = [*container_of(DEPLOYMENT["spec"]["template"])["args"][1:], *arguments]
    given = streaming_cli._parser().parse_args(command)
    loaded, _ = load_all(str(REPOSITORY / "conf" / "production.yaml"), given.overrides)
    assert loaded.config.spark.master == "spark://spark-master.spark:7077"
    conf = loaded.config.spark.conf
    (policy,) = yaml.safe_load_all((FOLDER / "cluster/networkpolicy.yaml").read_text())
    opened = [port["port"] for each in policy if "ingress" in each["path"] for port in each["value"]["ports"]]
    assert [int(conf[f"spark.driver.{name}"]) for name in ("port", "blockManager.port")] == opened


def test_every_file_is_part_of_it():
    parts = [FOLDER, *(path.parent for path in FOLDER.glob("*/kustomization.yaml"))]
    named = {Path(part, name) for part in parts for name in _named(part / "kustomization.yaml")}
    assert {file for file in FOLDER.rglob("*.yaml") if file.name != "kustomization.yaml"} <= named


def _named(file: Path) -> list[str]:
    found = yaml.safe_load(file.read_text())
    patches = [patch["path"] for patch in found.get("patches", []) if "path" in patch]
    made = [name.split("=")[-1] for each in found.get("configMapGenerator", []) for name in each.get("files", [])]
    return [*found.get("resources", []), *patches, *made]
