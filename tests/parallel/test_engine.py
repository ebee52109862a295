"""Engines: every one writes the bytes that this process writes, whatever becomes of its workers on the way."""

import contextlib
import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from distributed.security import Security
from joblib.externals.loky import get_reusable_executor
from support.batches import CONF, params
from support.dask_cluster import client_of, members

from batchyield.errors import BatchyieldError, ConfigError, MissingToolError, ParamsError, ServiceError
from batchyield.files import write_atomic
from batchyield.modelling import hyperparameter_search
from batchyield.modelling.onnx_export import to_onnx
from batchyield.modelling.params import read_params
from batchyield.modelling.parquet import read_features, read_table, write_table
from batchyield.modelling.train import train
from batchyield.parallel import dask_cluster
from batchyield.parallel.engine import open_engine
from batchyield.parallel.environment import EnvironmentMismatchError
from batchyield.parallel.params import ENGINE_VARIABLE, SCHEDULER_VARIABLE, DaskEngine, LocalEngine, choose_engine
from batchyield.pipeline import evaluate, featurize, split
from batchyield.pipeline.raw_files import read_raw
from batchyield.plant.simulator import simulate
from batchyield.versioning import hydra_params
from batchyield.versioning.storage.embedded_s3 import free_port

QUICK = [
    *(
        "model=line_trees",
        "model.extra_trees.n_estimators=3",
        "intervals.folds=2",
        "evaluation.folds=3",
        "evaluation.repeats=2",
    ),
    *("evaluation.bootstrap=10", "validate.minimum_rows=10", "intervals.smallest_group=30"),
]
SPACE = """
model:
  kind: extra_trees
  n_estimators: 5
  min_samples_leaf: 2
  max_features: 0.3
  seed: 1
values:
  min_samples_leaf: [1, 20, 60]
trials: 2
seed: 3
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A folder as the stages before `evaluate` leave it, for a small plant and a quick model."""
    root = tmp_path_factory.mktemp("plant")
    shutil.copytree(CONF, root / "conf")
    hydra_params.write_params(root, QUICK)
    write_atomic(root / "batches.csv", simulate(250, seed=5).csv())
    write_atomic(root / "conf/search/space.yaml", SPACE.encode())
    with contextlib.chdir(root):
        write_table(Path("data/validated/batches.parquet"), read_raw(Path("batches.csv")).frame)
        for stage in (split, featurize):
            stage.main()
        yields = read_table(Path("data/split/train.parquet"))["yield"].to_numpy(dtype=float)
        trained = train(read_features(Path("data/features/train.parquet")), yields, read_params())
        write_atomic(Path("data/model/model.onnx"), to_onnx(trained))
    return root


@pytest.fixture
def outputs(plant, tmp_path, monkeypatch, capsys):
    """Returns what `evaluate` and a search write with an engine, in a folder of their own."""

    def run(engine):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(plant, root)
        monkeypatch.setenv(ENGINE_VARIABLE, engine)
        with contextlib.chdir(root):
            evaluate.main()
            capsys.readouterr()
            assert hyperparameter_search.run(root / "conf/search/space.yaml") == 0
        written = sorted(path for folder in ("metrics", "plots") for path in (root / "data" / folder).iterdir())
        return {path.name: path.read_bytes() for path in written} | {"search": capsys.readouterr().out}

    return run


@pytest.fixture(scope="module", autouse=True)
def executor():
    """End joblib's processes after the tests."""
    yield
    get_reusable_executor().shutdown()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with members(tmp_path_factory.mktemp("dask"), 0) as made:
        yield made


def dask(made):
    return f"{{kind: dask, scheduler: '{made.address}'}}"


class TestBytes:
    """The outputs of `evaluate` and of a search."""

    def test_engines(self, outputs, made):
        """They are the same with two processes, and with a Dask worker."""
        expected = outputs("{kind: local}")
        assert len(expected) == 18
        assert outputs("{kind: local, workers: 2}") == expected
        with client_of(made, 0) as client, made.worker(client=client):
            assert outputs(dask(made)) == expected

    @pytest.mark.nightly
    def test_killed_worker(self, outputs, made):
        """They are the same if one of two workers is killed over a task."""
        expected = outputs("{kind: local}")
        with client_of(made, 0) as client, made.worker(client=client), made.worker(client=client):
            made.doomed.touch()
            assert outputs(dask(made)) == expected
        assert not made.doomed.exists()
        assert [process.poll() for process in made.processes].count(-signal.SIGKILL) == 1

    @pytest.mark.nightly
    def test_five_workers(self, outputs, made):
        """They are the same with five workers, and with a cluster that the command starts."""
        expected = outputs("{kind: local}")
        with client_of(made, 0) as client, contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(made.worker(client=client))
            assert outputs(dask(made)) == expected
        assert outputs("{kind: dask, workers: 2}") == expected


def refuse(error, pattern, engine):
    """Opening the engine raises the error."""
    with pytest.raises(error, match=pattern), open_engine(engine):
        pytest.fail("the engine was opened")
    gc.collect()  # of a Dask client that failed: if it is collected while the next one starts, the two wait for ever


def failing_task():
    return pytest.raises(BatchyieldError, match=r"divmod failed with ZeroDivisionError: .*\n.*traceback")


class TestDask:
    """Workers of a cluster."""

    @pytest.mark.nightly
    def test_tls(self, tmp_path):
        """A cluster behind TLS is used with the files of the engine, and refused without them."""
        security, files = Security.temporary(), {}
        texts = {"ca": security.tls_ca_file, "cert": security.tls_client_cert, "key": security.tls_client_key}
        for name, text in texts.items():
            files[f"tls_{name}"] = str(tmp_path / f"{name}.pem")
            (tmp_path / f"{name}.pem").write_text(text)
        options = ("--tls-ca-file", files["tls_ca"], "--tls-cert", files["tls_cert"], "--tls-key", files["tls_key"])
        with members(tmp_path, 1, *options, protocol="tls") as made:
            with open_engine(DaskEngine(scheduler=made.address, **files)) as engine:
                assert list(engine(max, 3, range(1, 6))) == [3, 3, 3, 4, 5]
            refuse(ServiceError, "no Dask scheduler answers", DaskEngine(scheduler=made.address))

    @pytest.mark.nightly
    @pytest.mark.parametrize(
        ("be", "pattern"),
        [("another", r"numpy 1\.0\.0 and not 2\."), ("without", r"ModuleNotFoundError.*dask_engine")],
    )
    def test_other_environment(self, made, be, pattern):
        """A worker that could give other bytes is named and gets no task."""
        with client_of(made, 0) as client, made.worker(be, client):
            pattern = rf"  {made.address[:16]}.*{pattern}(.|\n)*OPENBLAS_CORETYPE=Prescott"
            refuse(EnvironmentMismatchError, pattern, DaskEngine(scheduler=made.address))

    @pytest.mark.nightly
    def test_failure(self, made):
        """An error of a task reaches the caller with its message."""
        with client_of(made, 0) as client, made.worker(client=client):
            engine = open_engine(DaskEngine(scheduler=made.address))
            with engine as run, failing_task():
                list(run(divmod, 1, [1, 0, 1]))

    def test_no_workers(self, made, monkeypatch):
        """A scheduler that is not there, or has no workers, is an error that names the command to start one."""
        monkeypatch.setattr(dask_cluster, "WORKERS_TIMEOUT_SECONDS", 0.2)
        monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_SECONDS", 0.5)
        refuse(ServiceError, r"has had no worker(.|\n)*dask worker", DaskEngine(scheduler=made.address))
        address = f"tcp://127.0.0.1:{free_port()}"
        refuse(ServiceError, f"no Dask scheduler answers at {address}", DaskEngine(scheduler=address))

    def test_missing(self, monkeypatch):
        """Without a scheduler the error says how to give one; without Dask it names the extra."""
        monkeypatch.delenv(SCHEDULER_VARIABLE, raising=False)
        refuse(ConfigError, rf"no scheduler\n.*{SCHEDULER_VARIABLE}", DaskEngine())
        monkeypatch.setitem(sys.modules, "distributed", None)
        monkeypatch.delitem(sys.modules, "batchyield.parallel.dask_cluster")
        monkeypatch.delattr("batchyield.parallel.dask_cluster")
        refuse(MissingToolError, r"distributed is not installed(.|\n)*batchyield\[scale\]", DaskEngine(workers=1))


class TestProcesses:
    """Processes of this machine."""

    def test_failure(self):
        """An error of a task reaches the caller with its message."""
        with open_engine(LocalEngine(workers=2)) as engine, failing_task():
            list(engine(divmod, 1, [1, 0, 1]))

    def test_killed(self):
        """A killed process is an error; the next engine works."""
        killed = pytest.raises(ServiceError, match="a process of the engine was killed")
        with open_engine(LocalEngine(workers=2)) as engine, killed:
            list(engine(lambda process, number: os.kill(process or os.getpid(), number), None, [signal.SIGKILL]))
        with open_engine(LocalEngine(workers=2)) as engine:
            assert list(engine(max, 3, range(1, 6))) == [3, 3, 3, 4, 5]


class TestChoice:
    """The engine of `params.yaml` and of the environment."""

    def test_environment(self, monkeypatch):
        """The environment variable replaces the engine of the params; a wrong one is refused with an example."""
        monkeypatch.delenv(ENGINE_VARIABLE, raising=False)
        assert choose_engine(LocalEngine(workers=3)) == LocalEngine(workers=3)
        monkeypatch.setenv(ENGINE_VARIABLE, "{kind: dask, scheduler: 'tcp://h:1'}")
        assert choose_engine(LocalEngine()) == DaskEngine(scheduler="tcp://h:1")
        for wrong in ("{", "8", "{kind: spark}", "{kind: local, workers: 0}", "{kind: local, threads: 2}"):
            monkeypatch.setenv(ENGINE_VARIABLE, wrong)
            with pytest.raises(ConfigError, match=r"BATCHYIELD_ENGINE is (.|\n)*kind: local, workers: 4"):
                choose_engine(LocalEngine())

    @pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "engine").glob("*.yaml")))
    def test_conf(self, name):
        """Each choice in `conf/engine/` is valid; a scheduler and a number of workers exclude each other."""
        assert params(f"engine={name}").engine == {"local": LocalEngine(), "dask": DaskEngine()}[name]
        address = "engine.scheduler=tcp://10.0.0.5:8786"
        assert params("engine=dask", address).engine == DaskEngine(scheduler="tcp://10.0.0.5:8786")
        with pytest.raises(ParamsError, match="scheduler and workers exclude each other"):
            params("engine=dask", address, "engine.workers=2")
