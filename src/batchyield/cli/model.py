"""`batchyield model`: its params and search, predictions from the command line, comparison of two models."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyield.cli import deploy
from batchyield.cli.journal import add_journal_option, add_period_options, open_journal, read_period
from batchyield.cli.options import Parser, add_json_option, output_file_or_folder, print_result
from batchyield.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

    from batchyield.scoring.predicted import Form
    from batchyield.scoring.storage import InputFile
    from batchyield.serving.artifact import Artifact
    from batchyield.serving.bias import BiasState

SCHEDULER = "DASK_SCHEDULER_ADDRESS"

Score = Callable[[Iterable[Any]], Iterator[Any]]
"""Returns the predictions of each chunk, encoded, in the order of the chunks, or why it has none."""

Predictions = Iterator[tuple[Score, dict[str, Any]]]
"""What scores, and which model and how many workers it uses."""


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield model`."""
    model = program.add_noun("model", "The model: params, search, scoring, comparison with another model.")

    about = "Compose conf/ into params.yaml, or check that params.yaml equals conf/."
    params = model.add("params", _params, about, "model=ridge")
    params.add_argument("--check", action="store_true", help="write nothing; fail if params.yaml differs from conf/")
    params.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge")

    about = "Search hyperparameters with Optuna on the training batches; an interrupted search resumes."
    search = model.add("search", _search, about, "conf/search/line_trees.yaml --write tuned")
    space = Path("conf/search/line_trees.yaml")
    search.add_argument("space", type=Path, nargs="?", default=space, help="the search space (%(default)s)")
    search.add_argument("--write", metavar="NAME", help="write the winner as conf/model/NAME.yaml")
    search.add_argument("--force", action="store_true", help="overwrite an existing choice of that name")

    about = "Predict the batches of CSV files, by a service or here: id,yield,lower,upper per line."
    _add_score_options(model.add("score", _score, about, "batches.csv --local --out predictions.csv"))

    about = "Compare two pinned models on the test batches, or one with the model that serves."
    compare = model.add("compare", _compare, about, "v1.0.0 v1.1.0", json=True)
    about = "the baseline; without a candidate: the candidate, compared with the model that serves"
    compare.add_argument("revision", help=about)
    compare.add_argument("candidate", nargs="?", help="the candidate")
    deploy.add_models_option(compare)

    about = "Predict journalled inputs with a candidate model and report what it would have changed."
    replay = model.add("replay", _replay, about, "--since 7d --model main --fail-over p95=0.01", json=True)
    add_period_options(replay)
    replay.add_argument("--limit", type=int, metavar="N", help="only the latest N predictions of the period")
    replay.add_argument("--model", required=True, metavar="REV|DIR", help="the candidate: a revision or a folder")
    replay.add_argument("--baseline", default="journal", metavar="REV|DIR", help="a model, or the %(default)s itself")
    about = (
        "exit with 1 if the figure is greater (p95 if none is named): mean, mean_absolute, p95, largest, changed, "
        "outside, slice or live_rmse; may be repeated"
    )
    replay.add_argument("--fail-over", action="append", default=[], metavar="[FIGURE=]MAX", help=about)
    add_journal_option(replay)


def _add_score_options(score: argparse.ArgumentParser) -> None:
    about = "the plant's CSV or Parquet, of any size; with a model of this workspace also folders, 'wild*cards', s3://…"
    score.add_argument("file", nargs="+", help=about)
    about = "file to write (standard output), or a folder, such as scored/ or s3://bucket/scored/, for a file for each"
    score.add_argument("--out", type=output_file_or_folder, help=about)
    score.add_argument("--format", choices=("csv", "parquet"), help="of the output (by the name of --out, else csv)")
    score.add_argument("--quiet", action="store_true", help="show no progress on standard error")
    add_json_option(score, "print a summary as JSON; needs --out")
    where = score.add_mutually_exclusive_group()
    about = "the service, with the key in $BATCHYIELD_API_KEY ($BATCHYIELD_URL, else http://127.0.0.1:8000)"
    where.add_argument("--url", help=about)
    where.add_argument("--local", action="store_true", help="predict in this process; the bytes are the same")
    where.add_argument("--workers", type=int, metavar="N", help="predict in N processes of this machine")
    about = f"predict on the Dask workers of tcp://HOST:8786, or tls://… (${SCHEDULER})"
    where.add_argument("--scheduler", metavar="ADDRESS", help=about)
    about = "with --local, a CSV id,yield[,measured_at] of batches in the files: it corrects predictions of later ones"
    score.add_argument("--outcomes", type=Path, metavar="CSV", help=about)
    about = "predictions of the model alone, not corrected by the yields that the service knows"
    score.add_argument("--alone", action="store_true", help=about)
    score.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="what pins the local model (%(default)s)")
    for name, about in (("ca", "CA of the scheduler"), ("cert", "certificate of this client"), ("key", "its key")):
        score.add_argument(f"--tls-{name}", type=Path, metavar="PEM", help=f"{about} (as Dask is configured)")


def model_folder(model: str) -> Path:
    """Return the folder of a model: the folder itself, or that of a revision, whose model is fetched."""
    if Path(model).is_dir():
        return Path(model)
    from batchyield.release.pinned_model import fetch_model

    return fetch_model(model)


def _params(options: argparse.Namespace) -> None:
    from batchyield.versioning import hydra_params as params

    print(params.check_params() if options.check else params.write_params(overrides=options.overrides))


def _search(options: argparse.Namespace) -> int:
    from batchyield.parallel.reproducibility import pin

    pin()  # before NumPy loads
    from batchyield.modelling import hyperparameter_search

    return hyperparameter_search.run(options.space, options.write, options.force)


def _compare(options: argparse.Namespace) -> None:
    from batchyield.review import model_comparison

    folder, deployment = deploy.fetch_model(options.candidate or options.revision)
    if options.candidate:
        baseline = deploy.open_model(*deploy.fetch_model(options.revision))
        comparison = model_comparison.compare_models(baseline, deploy.open_model(folder, deployment))
    else:
        store = deploy.model_store(options)
        try:
            serving = store.kept(deploy.serving_deployment(store))
            comparison = deploy.compare_deployments(store, serving, folder, deployment)
        except ArtifactError as error:
            problem = str(error).splitlines()[0]
            raise ConfigError(f"the model that serves cannot be opened: {problem}", "give two revisions") from error
    print_result(comparison, options, model_comparison.format_comparison)


def _replay(options: argparse.Namespace) -> int:
    import msgspec

    from batchyield.journal.queries import read_predictions
    from batchyield.review.journal_replay import check_limits, format_replay, open_candidate, replay_journal

    limits = _limits(options.fail_over)
    since, until = read_period(options)
    candidate = open_candidate(model_folder(options.model))
    baseline = None if options.baseline == "journal" else open_candidate(model_folder(options.baseline))
    with open_journal(options) as store:
        result = replay_journal(read_predictions(store, since, until, options.limit), candidate, baseline)
    verdicts = check_limits(result, limits)
    rows = [{"figure": b.figure, "most": b.most, "found": b.found, "passed": b.passed} for b in verdicts]
    text = "\n".join([format_replay(result), *(["", *map(str, verdicts)] if verdicts else [])])
    print_result(msgspec.to_builtins(result) | {"bounds": rows}, options, lambda _: text)
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _limits(options: list[str]) -> dict[str, float]:
    from batchyield.review.journal_replay import REPLAY_METRICS

    limits = {}
    for option in options:
        figure, equals, limit = option.rpartition("=")
        figure, problem = figure if equals else "p95", f"--fail-over {option}"
        try:
            limits[figure] = float(limit)
        except ValueError:
            raise ConfigError(f"{problem}: {limit!r} is not a number", "write for example p95=0.01") from None
        if figure not in REPLAY_METRICS:
            raise ConfigError(f"{problem}: there is no figure {figure}", f"there are {', '.join(REPLAY_METRICS)}")
    return limits


def _score(options: argparse.Namespace) -> int:
    from batchyield.scoring.storage import find_files

    if options.json and not options.out:
        raise ConfigError("standard output cannot take both the predictions and --json", "name a file with --out")
    if options.outcomes and not options.local:
        remedy = "give --local; a service uses the outcomes that were sent to it"
        raise ConfigError("--outcomes needs the model in this process", remedy)
    to_folder = options.out is not None and not isinstance(options.out, Path) and options.out.endswith("/")
    form: Form = options.format or ("parquet" if str(options.out).endswith(".parquet") else "csv")
    if form == "parquet" and not options.out:
        raise ConfigError("standard output takes CSV only", "name a file or a folder with --out")
    files = find_files(options.file, options.out if to_folder else "")
    return _score_to_folder(options, files, form) if to_folder else _score_to_file(options, files, form)


def _score_to_file(options: argparse.Namespace, files: "list[InputFile]", form: "Form") -> int:
    from batchyield.scoring.chunks import read_chunks
    from batchyield.scoring.local import ChunkFailure, Progress, with_header
    from batchyield.scoring.predicted import write_parts
    from batchyield.scoring.storage import describe, new_file

    progress, begun = Progress(sum(file.size for file in files), options.quiet, form), time.monotonic()
    names = [file.url for file in files]

    def scored(score: "Score") -> Iterator[bytes]:
        for part in progress.count_parts(score(progress.count_chunks(read_chunks(names)))):
            if isinstance(part, ChunkFailure):
                raise part.error()
            yield part

    here = _is_here(options)
    with _score_here(options, names, form) if here else _score_by_service(options, names, form) as (score, computed_by):
        if not options.out:
            sys.stdout.buffer.writelines(with_header(scored(score)))
            return 0
        with new_file(str(options.out)) as path:
            write_parts(scored(score), form, path)
            written = describe(path)
    if options.json:
        summary = {"batches": progress.batches, "seconds": round(time.monotonic() - begun, 3)}
        print_result(summary | {"md5": written.md5} | computed_by, options, str)
    return 0


def _score_to_folder(options: argparse.Namespace, files: "list[InputFile]", form: "Form") -> int:
    from batchyield.scoring.local import Progress
    from batchyield.scoring.many_files import Run, locked

    if not _is_here(options):
        raise ConfigError("a service scores one file at a time", "give --local, --workers N or --scheduler")
    if options.outcomes:
        raise ConfigError("--outcomes corrects one output", "name a file with --out")
    begun = time.monotonic()
    with locked(options.out), _score_here(options, [], form) as (score, computed_by):
        run = Run(files, options.out, form, computed_by["model"])
        progress = Progress(sum(file.size for file in run.waiting.values()), options.quiet, form)
        summary = run.write(progress.count_parts(score(progress.count_chunks(run.items()))))
    result = summary._asdict() | {"seconds": round(time.monotonic() - begun, 3)} | computed_by
    print_result(result, options, lambda _: str(summary))
    return 1 if summary.failed else 0


def _is_here(options: argparse.Namespace) -> bool:
    """Whether the model of this workspace predicts, and not a service."""
    by_scheduler = options.scheduler or (os.environ.get(SCHEDULER) and not options.url)
    return bool(options.local or options.workers is not None or by_scheduler)


def _measure_bias(options: argparse.Namespace, names: list[str], artifact: "Artifact") -> "BiasState":
    from batchyield.scoring.outcomes import measure_bias, read_outcomes
    from batchyield.scoring.storage import is_parquet, is_remote
    from batchyield.serving.bias import read_params

    if other := [name for name in names if is_parquet(name) or is_remote(name)]:
        raise ConfigError(f"{other[0]} is no CSV file of this machine", "with outcomes, pass such files")
    params = read_params(options.lock)
    if params is None:
        raise ConfigError(f"{options.lock} has no bias update", "choose `bias: ewma` in conf/config.yaml, `dvc repro`")
    return measure_bias(artifact, params, list(map(Path, names)), read_outcomes(options.outcomes))


@contextlib.contextmanager
def _score_by_service(options: argparse.Namespace, names: list[str], form: "Form") -> Predictions:
    from batchyield.client import Client
    from batchyield.scoring.storage import is_parquet, open_file
    from batchyield.serving.responses import CSV_HEADER

    if len(names) > 1:  # between two of them, its model may change
        raise ConfigError("a service scores one file at a time", "run the command for each file, or use --local")
    if form == "parquet" or is_parquet(names[0]):
        raise ConfigError("a service takes and returns CSV", "use --local for Parquet")
    with open_file(names[0]) as file, Client(options.url) as client:
        lines = (part.removeprefix(CSV_HEADER) for part in client.score_csv(file, bias=not options.alone))
        yield lambda _: lines, {}


@contextlib.contextmanager
def _score_here(options: argparse.Namespace, names: list[str], form: "Form") -> Predictions:
    from batchyield.scoring.local import keep_freed_memory
    from batchyield.scoring.local import score_items as score_in_process
    from batchyield.serving.artifact import open_artifact, read_pins

    folder = options.lock.parent / "data" / "model"
    pins = read_pins(options.lock, folder)
    if options.local:
        keep_freed_memory()
        artifact = open_artifact(folder, pins)
        bias = _measure_bias(options, names, artifact) if options.outcomes else None
        yield partial(score_in_process, artifact.predictor, form, bias), {"model": artifact.md5, "workers": 0}
        return
    from batchyield.scoring.dask import score as scoring
    from batchyield.scoring.dask.worker import upload_model

    uploaded = upload_model(folder, pins)
    with _cluster(options, options.scheduler or os.environ.get(SCHEDULER, "")) as client:
        expected, workers = scoring.check_workers(client, uploaded)
        computed_by = {"model": expected.model, "workers": workers}
        if not options.quiet:
            answer = "worker answers" if workers == 1 else "workers answer"
            print(f"{workers} {answer} with model {expected.model}", file=sys.stderr, flush=True)
        yield partial(scoring.score_items, client, uploaded, expected, form), computed_by


def _cluster(options: argparse.Namespace, scheduler: str) -> contextlib.AbstractContextManager["Client"]:
    from batchyield.parallel.dask_cluster import connect, start_local_cluster, tls_security

    if options.workers is None:
        return connect(scheduler, tls_security(options.tls_ca, options.tls_cert, options.tls_key))
    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers} is less than 1", "give 1 or more, or use --local")
    return start_local_cluster(options.workers)
