"""deploy/kubernetes rendered by kubectl and held against Kubernetes' own schemas, strictly: `make test-kubernetes`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import needs
from tests.dockerfile import REPOSITORY

VALIDATE = REPOSITORY / "build" / "kubernetes" / "bin" / "kubernetes-validate"
CHECKOV = REPOSITORY / "build" / "deploy" / "checkov" / "bin" / "checkov"
# What checkov would have otherwise, and why it is as it is.
ACCEPTED = {
    "CKV_K8S_15": "a tag is never moved here, so a node that has the image need not ask for it",
    "CKV_K8S_35": "conf/production.yaml takes its secrets from the environment, and nothing else runs in the pod",
    "CKV_K8S_43": "whose registry it is, and so the digest, is the user's to say; kustomization.yaml takes one",
}
VERSIONS = ("1.27", "1.33", "1.37")
FOREIGN = {"PodMonitor"}  # of the Prometheus operator, whose schema Kubernetes does not have
pytestmark = [
    pytest.mark.deploy,
    needs(shutil.which("kubectl"), "kubectl, which renders"),
    needs(VALIDATE.exists(), "Kubernetes' schemas: make test-kubernetes installs them"),
]


@pytest.fixture(params=["as it is", "with every component"])
def rendered(request, tmp_path) -> Path:
    """What `kubectl apply -k` would send, in one file."""
    for part in ("conf", "deploy/kubernetes"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    file = tmp_path / "deploy/kubernetes/kustomization.yaml"
    if request.param == "with every component":
        text, number = re.subn(r"(?m)^  # - (\w+) ", r"  - \1 ", file.read_text())
        assert number == len(list(file.parent.glob("*/kustomization.yaml")))
        file.write_text(text)
    done = subprocess.run(["kubectl", "kustomize", file.parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "rendered.yaml"
    own = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] not in FOREIGN]
    made.write_text(yaml.safe_dump_all(own))
    return made


def validated(file: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [VALIDATE, "--strict", "--kubernetes-version", version, file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_as_kubernetes_has_it(rendered, version):
    done = validated(rendered, version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("passed for resource", done.stdout + done.stderr)) >= 9


def test_a_word_that_kubernetes_does_not_know_is_found(rendered):
    rendered.write_text(rendered.read_text().replace("terminationGracePeriodSeconds", "terminationGraceSeconds"))
    assert validated(rendered, VERSIONS[0]).returncode != 0


@needs(CHECKOV.exists(), "checkov: make deploy-tools")
@pytest.mark.timeout(900)
def test_checkov_finds_nothing_but_what_is_accepted(rendered):
    command = [CHECKOV, "--file", rendered, "--framework", "kubernetes", "--skip-download", "--output", "json", "--quiet"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    report = json.loads(done.stdout)
    assert {each["check_id"] for each in report["results"]["failed_checks"]} == set(ACCEPTED)
    assert report["summary"]["passed"] > 300


def test_names_follow_each_other(rendered):
    found = list(yaml.safe_load_all(rendered.read_text()))
    names = {(each["kind"], each["metadata"]["name"]) for each in found}
    (deployment,) = (each for each in found if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert ("ServiceAccount", pod["serviceAccountName"]) in names
    (container,) = pod["containers"]
    assert ("ConfigMap", container["envFrom"][0]["configMapRef"]["name"]) in names
    (conf,) = (volume for volume in pod["volumes"] if "configMap" in volume)
    assert ("ConfigMap", conf["configMap"]["name"]) in names
    assert container["image"].startswith("registry.example.com/qsr-ingest:")
    assert {each["metadata"].get("namespace", "qsr-ingest") for each in found} == {"qsr-ingest"}
