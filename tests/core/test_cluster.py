"""The files for clusters run the command that a machine runs, with a profile that there is."""

import shutil
import subprocess

import pytest
import yaml

from lib.core import paths

CLUSTER = paths.PARAMS / "cluster"
COMMAND = [".venv/bin/python", "-m", "lib.stages", "--profile"]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_slurm_script_is_bash_and_runs_the_study(tmp_path):
    script = CLUSTER / "slurm.sh"
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    python = tmp_path / COMMAND[0]
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    for given, profile in (([], "paper"), (["smoke"], "smoke")):
        environment = {"SLURM_SUBMIT_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["bash", script, *given], env=environment, capture_output=True, text=True)
        assert done.stdout.split() == [*COMMAND[1:], profile] and profile in paths.profiles()
    head = [line for line in script.read_text().splitlines() if line.startswith("#")]
    assert head[0] == "#!/bin/bash" and sum(line.startswith("#SBATCH --") for line in head) > 5


@pytest.mark.skipif(not shutil.which("sbatch"), reason="Slurm is not installed")
def test_slurm_takes_the_script():
    done = subprocess.run(["sbatch", "--test-only", CLUSTER / "slurm.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_kubernetes_job_runs_the_study():
    job = yaml.safe_load((CLUSTER / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "OnFailure"
    (container,) = pod["containers"]
    assert container["command"][:-1] == COMMAND and container["command"][-1] in paths.profiles()
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] >= 1


@pytest.mark.parametrize("path", sorted((paths.PARAMS / "accelerate").glob("*.yaml")), ids=lambda p: p.stem)
def test_accelerate_takes_its_configuration(path):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(path))
    assert (found.num_machines, found.mixed_precision) == (1, "no")
    assert yaml.safe_load(path.read_text())["main_process_port"] == 0
