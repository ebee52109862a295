"""A pull request reviewed as its author does it: a remote, a branch with a changed param, and the make targets."""

import json
import math
import os
import re
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import EVALUATED, QUICK, ROOT, run

from batchyield.errors import ArtifactError, BatchyieldError, CommandError, ConfigError
from batchyield.modelling.params import Bounds, Change
from batchyield.modelling.train import Predictions
from batchyield.review import comment_target
from batchyield.review.gate import BoundCheck, CheckResult, GateResult, check_regressions, has_override_label
from batchyield.review.paired_bootstrap import MIN_COMMON_BATCHES, PredictedBatches, paired_bootstrap, parse_predictions
from batchyield.review.report import attachments, inputs
from batchyield.review.report.charts import xychart
from batchyield.review.report.markdown import cell, table
from batchyield.review.report.page import write_page
from batchyield.review.review import review_change
from batchyield.review.revision import Revision, merge_base
from batchyield.versioning import git, hydra_params
from batchyield.versioning.provenance.stale_lock import find_stale
from batchyield.versioning.storage import embedded_s3, raw_data, remotes

MERMAID = Path(os.environ.get("BATCHYIELD_MERMAID", "/nonexistent"))


def answered(n=200, error=0.01, seed=0):
    rng = np.random.default_rng(seed)
    actual = rng.uniform(0.8, 1.0, n)
    yields = actual + rng.normal(0, error, n)
    return PredictedBatches([f"b_{i}" for i in range(n)], actual, Predictions(yields, yields - 0.03, yields + 0.03))


def compared(base, head, rule, name="score"):
    pair = paired_bootstrap(base, head, 300, 0.9, 1)
    figures = {"test": {name: 0.5}}
    (found,) = check_regressions({"test": {name: Bounds(change=rule)}}, figures, figures, pair)
    return found


NOISY = Change(better="lower", beyond_noise=True)


def test_same_worse_better():
    base = answered()
    worse = base._replace(answers=Predictions(base.answers.yields + 0.02, base.answers.lower, base.answers.upper))
    assert compared(base, base, NOISY).outcome is CheckResult.SAME
    assert compared(base, worse, NOISY).outcome is CheckResult.WORSE
    assert compared(worse, base, NOISY).outcome is CheckResult.BETTER
    assert compared(worse, base, Change(better="higher", beyond_noise=True)).outcome is CheckResult.WORSE
    assert compared(base, worse, Change(better="lower", tolerance=1e6)).outcome is CheckResult.TOLERATED
    assert compared(worse, base, Change(better="lower", tolerance=1)).outcome is CheckResult.TOLERATED
    text = str(compared(base, worse, NOISY))
    assert re.search(r"FAILED  test score [\d.]+ → [\d.]+ 1e-4 \(\+\d+\.\d%, sure: \+[\d.]+ to \+[\d.]+\): worse", text)


def test_within_noise():
    """A loss within noise passes; a gain within noise is not called better, even by a rule without noise."""
    base = answered()
    yields = base.answers.yields.copy()
    yields[0] = base.measured[0] + 0.1
    head = base._replace(answers=base.answers._replace(yields=yields))
    found = compared(base, head, NOISY)
    assert found.outcome is CheckResult.NOISE
    assert found.low <= 0 < found.head - found.base
    assert compared(base, head, Change(better="lower")).outcome is CheckResult.WORSE
    for rule in (NOISY, Change(better="lower")):
        assert compared(head, base, rule).outcome is CheckResult.NOISE


@pytest.mark.parametrize("rule", [NOISY, Change(better="lower"), Change(better="higher", tolerance=1e6)])
def test_nan(rule):
    """A metric that is NaN fails against any base; a base without a number is none; predictions must be numbers."""
    rules, number, none = {"forward": {"score": Bounds(change=rule)}}, {"forward": {"score": 1.0}}, math.nan
    if not rule.beyond_noise:
        for base in (number, {"forward": {"score": none}}, {}):
            (found,) = check_regressions(rules, base, {"forward": {"score": none}}, None)
            assert not found.passed or (found.outcome is CheckResult.NEW and not base)
        (found,) = check_regressions(rules, {"forward": {"score": none}}, number, None)
        assert found.outcome is CheckResult.NEW
    with pytest.raises(ArtifactError, match="not finite numbers in yields"):
        parse_predictions(b"id,actual,yields,lower,upper\na,1,,1,1\n", "predicted.csv")


@given(st.integers(0, 99), st.permutations(range(MIN_COMMON_BATCHES)))
def test_join_by_id(seed, order):
    base, head = answered(MIN_COMMON_BATCHES, seed=seed), answered(MIN_COMMON_BATCHES + 30, seed=seed)
    there = paired_bootstrap(base.take(order), head, 20, 0.9, 1)
    assert there is not None
    assert there.rows == MIN_COMMON_BATCHES
    assert there == paired_bootstrap(base, head, 20, 0.9, 1)


def test_too_few_common_batches():
    found = compared(answered(MIN_COMMON_BATCHES - 1), answered(MIN_COMMON_BATCHES - 1), NOISY)
    assert found.outcome is CheckResult.INSUFFICIENT_DATA
    assert not found.passed


def test_new_metric_and_invalid_rules():
    rules = {"forward": {"score": Bounds(change=Change())}}
    (found,) = check_regressions(rules, {}, {"forward": {"score": 1.0}}, None)
    assert (found.outcome, found.passed) == (CheckResult.NEW, True)
    with pytest.raises(ConfigError, match=r"gate\.forward\.score\.change has beyond_noise"):
        check_regressions({"forward": {"score": Bounds(change=NOISY)}}, {}, {"forward": {"score": 1.0}}, None)
    with pytest.raises(ConfigError, match=r"gate\.test\.bias\.change: neither direction of bias is better"):
        check_regressions({"test": {"bias": Bounds(change=Change())}}, {}, {"test": {"bias": 1.0}}, None)
    with pytest.raises(ArtifactError, match="has not the columns"):
        parse_predictions(b"a,b\n1,2\n", "predicted.csv")


def test_override_label():
    failing = BoundCheck("test", "r2", 0.1, Bounds(at_least=0.5))
    assert not GateResult([failing], [], has_override_label("bug")).passed
    overridden = GateResult([failing], [], has_override_label("bug, gate-override"))
    assert overridden.passed
    assert "FAILED" in str(overridden)
    assert "OVERRIDDEN" in str(overridden)


@given(st.text())
def test_cells_are_escaped(text):
    shown = cell(text)
    assert not set(shown.replace("&#", "")) & set("\\`*_[]<>|@!~$\n\r")
    assert table(["a"], [[shown]])[2].count("|") == 2


def test_attachments(tmp_path):
    moves = {"batches": 9, "changed": 3, "mean": 0.001, "mean_absolute": 0.002, "p95": 0.003, "largest": -0.01}
    moves |= {"at": 4, "outside": 1, "width": 0.0}
    replayed = {"baseline": "journal", "candidate": "ab|c", "overall": moves, "measured": 5, "since": 1}
    replayed["slices"] = [{"by": "spins", "label": "2", "differences": moves}]
    replayed["live"] = {"baseline": {"rmse": 0.02}, "candidate": {"rmse": 0.01}}
    target = {"what": "1 row, share of the echo's rate", "found": "90%", "bound": "≥ 80 %", "met": False}
    found = {
        "stage": "train",
        "path": "data/model/model.onnx",
        "verdict": "different",
        "committed": "a",
        "rebuilt": "b",
    }
    verified = {
        "revision": "c" * 40,
        "findings": [found | {"rebuilt": "b", "distance": "far"}],
        "environment": [],
        "seconds": 1.0,
    }
    files = {
        "replay": replayed,
        "bench": {"machine": "m", "targets": [target], "figures": {}},
        "verification": verified | {"causes": ["code: x.py"]},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    given = attachments.Attachments(**{name: tmp_path / name for name in files})
    output = "\n".join([*attachments.replay(given), *attachments.bench(given)])
    assert "journal → ab&#124;c: 9 batches, 3 changed" in output
    assert "By 5 outcomes: RMSE 2.00 → 1.00 points." in output
    assert "| 1 row, share of the echo's rate | 90% | ≥ 80 % | **miss** |" in output
    head = SimpleNamespace(name="c" * 12)
    made = attachments.read_rebuild(given, head)
    assert (made.different, made.causes, made.rows[0][1]) == (
        True,
        ("code: x.py",),
        "<code>data/model/model.onnx</code>",
    )
    for name in ("d" * 12, f"{'c' * 12}, with changes not committed"):
        made = attachments.read_rebuild(given, SimpleNamespace(name=name))
        assert (made.different, made.rows) == (False, ()), "a rebuild of another tree proves nothing"
    (tmp_path / "verification").write_text("")
    assert attachments.read_rebuild(given, head).failed
    (tmp_path / "replay").write_text("{}")
    with pytest.raises(ConfigError, match=r"write it again: `batchyield model replay --json"):
        attachments.replay(given)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_chart_decimals(heights):
    drawn = xychart("t", ("x", ["a"] * len(heights)), ("y", min(heights), 1e-9), [("line", heights)], ["#000"])
    (line,) = [text for text in drawn if text.startswith("  line")]
    output = line.removeprefix("  line [").removesuffix("]").split(", ")
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", one) for one in output)
    assert [float(one) for one in output] == pytest.approx(heights, abs=1e-6)


@pytest.fixture(scope="module")
def origin(quick, tmp_path_factory):
    """A remote whose main was built with quick choices, and the clone that pushed its outputs."""
    folder = tmp_path_factory.mktemp("review")
    git.git("clone", "-q", "--bare", str(quick), str(folder / "origin.git"), cwd=folder)
    author = folder / "author"
    git.git("clone", "-q", str(folder / "origin.git"), str(author), cwd=folder)
    remotes.copy_remotes(quick, author)
    shutil.copytree(quick / ".dvc/cache", author / ".dvc/cache")
    run("dvc", "checkout", "--quiet", cwd=author)
    run("dvc", "push", "--quiet", cwd=author)
    return folder


def proposed(author, branch, *choices):
    """Changes params on a branch, builds and commits."""
    run("git", "checkout", "-q", "-B", branch, "main", cwd=author)
    hydra_params.write_overrides(author, choices)
    hydra_params.write_params(author)
    run("dvc", "repro", "--quiet", cwd=author)
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    run("git", *identity, "commit", "-qam", branch, cwd=author)


def pushed(author, branch):
    """Code and data to where others find them."""
    run("git", "push", "-q", "origin", branch, cwd=author)
    run("dvc", "push", "--quiet", cwd=author)


def rehearsed(origin, rebuilt, branch, labels=""):
    """Reviews a branch in a fresh clone; the report, the exit code of each step, and the clone."""
    clone = origin / f"ci-{branch}"
    git.git("clone", "-q", "--branch", branch, str(origin / "origin.git"), str(clone), cwd=origin)
    remotes.copy_remotes(rebuilt, clone)
    stamp = clone / ".rehearsed/.made-from-locks"
    stamp.parent.mkdir()
    stamp.touch()
    os.utime(stamp, (time.time() + 3600,) * 2)  # `setup` has nothing to do: the suite's own environment is used
    given = {"BASE": "origin/main", "PR_NUMBER": "7", "PR_LABELS": labels}
    given |= {
        "GITHUB_STEP_SUMMARY": str(clone / "summary.md"),
        "VENV": ".rehearsed",
        "MAKEFLAGS": "--environment-overrides",
    }
    codes = {}
    for target in ("pull", "report", "pr-number", "gate"):
        done = run("make", target, cwd=clone, check=False, **given)
        codes[target] = (done.returncode, done.stdout + done.stderr)
    return (clone / ".cache/review/report.md").read_text(), codes, clone


@pytest.mark.slow
def test_change_within_noise(origin, rebuilt):
    proposed(origin / "author", "quiet", *QUICK, "model.alpha=0.55")
    pushed(origin / "author", "quiet")
    report, codes, clone = rehearsed(origin, rebuilt, "quiet")
    assert {step: code for step, (code, _) in codes.items() if code} == {}, codes
    assert report.startswith("## ✅ The gate passes this change")
    assert "| <code>model.alpha</code> | <code>0.5</code> | <code>0.55</code> |" in report
    assert report.count("```mermaid") == 2
    assert (clone / "summary.md").read_text() == report
    assert (clone / ".cache/review/number").read_text() == "7\n"
    headings = [line for line in report.splitlines() if line.startswith("### ")]
    assert headings == [
        f"### {name}" for name in (*("Metrics", "Slices that got worse", "Params", "Answers that moved", "Plots"),)
    ]
    other_data(clone, report)


def other_data(clone, before):
    """The same change with other raw data: the data section."""
    base, head = merge_base("origin/main", clone), Revision(clone)
    assert inputs.data(base, head) == []
    lines = (clone / raw_data.DATA).read_bytes().splitlines(keepends=True)
    hotter = [lines[0], *(line.replace(b",80,", b",95,") for line in lines[2:])]
    (clone / raw_data.DATA).unlink()
    (clone / raw_data.DATA).write_bytes(b"".join(hotter))
    pin = (clone / raw_data.PIN).read_text()
    (clone / raw_data.PIN).write_text(
        pin.replace(raw_data.parse_pin(pin).md5, run("md5sum", str(clone / raw_data.DATA), cwd=clone).stdout[:32])
    )
    output = "\n".join(inputs.data(base, head))
    assert f"| rows | {len(lines) - 1} | {len(lines) - 2} |" in output
    assert "| rows removed | 1 |" in output
    assert "readings have moved" in output
    assert "Schema: the same columns in the same order; 44 → 44." in output


@pytest.fixture(scope="module")
def worse(origin):
    """The author's clone on a branch that made the model worse."""
    proposed(origin / "author", "worse", *EVALUATED, "model=mean")
    return origin / "author"


@pytest.mark.slow
def test_fork_without_storage(worse, tmp_path):
    fork = tmp_path / "fork"
    git.git("clone", "-q", "--branch", "worse", str(worse), str(fork), cwd=tmp_path)
    base = git.git("rev-parse", "origin/main", cwd=fork)[:8]
    output = run(
        "batchyield", "review", "fetch", "--base", "origin/main", "--s3-port", str(embedded_s3.free_port()), cwd=fork
    ).stdout
    assert "put the sample plant's batches at raw/batches.csv" in output
    assert "HEAD     rebuilt, raw data from the source bucket" in output
    assert f"{base} rebuilt, since neither cache nor storage has its outputs" in output
    assert git.git("status", "--porcelain", cwd=fork) == "", "what was built is what is pinned"
    assert ": worse\n" in run("batchyield", "review", "gate", "--base", "origin/main", cwd=fork, check=False).stdout


@pytest.mark.slow
def test_worse_change(worse):
    done = run("batchyield", "review", "gate", "--base", "main", cwd=worse, check=False)
    assert done.returncode == 1
    assert ": worse\n" in done.stdout
    done = run("batchyield", "review", "gate", "--base", "main", "--json", cwd=worse, PR_LABELS="gate-override")
    result = json.loads(done.stdout)
    assert (result["passed"], result["overridden"], len(result["failures"]) > 2) == (True, True, True)
    stopped = write_page("main", root=worse)
    assert stopped.verdict == "❌ The gate stops this change"
    assert "| ▲ worse: **stops** |" in stopped.text
    assert re.search(r"\n- test score [\d.]+ → [\d.]+ 1e-4 \(", stopped.text)
    assert "| <code>model.kind</code> | <code>ridge</code> | <code>mean</code> |" in stopped.text
    kinds = stopped.text.partition("settings of the kinds</summary>")
    assert "model.alpha" in kinds[2], "what only one kind has is in a fold"
    assert "model.alpha" not in kinds[0]
    overridden = write_page("main", "gate-override", root=worse)
    assert overridden.text.startswith("## ⚠️ The gate fails, and the label")
    assert "- test score" in overridden.text
    assert ": 'nowhere' is not a revision" in write_page("nowhere", root=worse).verdict


def shown(root):
    """Return the report, and the exit code and the output of the gate."""
    page = write_page("main", root=root).text
    done = run("batchyield", "review", "gate", "--base", "main", cwd=root, check=False, PR_LABELS="gate-override")
    return page, done.returncode, done.stdout + done.stderr


def copied(quick, tmp_path):
    """Return a copy of the checkout, its outputs included, on a branch that is to be changed."""
    root = tmp_path / "change"
    shutil.copytree(quick, root, symlinks=True)
    git.git("checkout", "-q", "-b", "change", cwd=root)
    return root


@pytest.mark.slow
class TestVerdict:
    """What stands above everything else."""

    def test_no_byte_moved(self, quick):
        """A change that moves no byte of the model is one line."""
        page = write_page("main", root=quick)
        assert re.fullmatch(r"✅ The model is the same: (\d+) of \1 outputs, byte for byte", page.verdict)
        assert len(page.text.splitlines()) <= 3

    def test_score_unit(self, quick):
        """Files of metrics, DVC's tables and the review have scores in one unit, 1e-4."""
        for file in ("test", "cross_validation", "forward"):
            figures = json.loads((quick / f"data/metrics/{file}.json").read_text())
            assert figures["score"] == pytest.approx(figures["rmse"] ** 2 / 2 * 1e4, rel=0.02)
        page = review_change("main", root=quick)
        measured = json.loads((quick / "data/metrics/test.json").read_text())
        assert page.pair.head["score"] == measured["score"]
        assert f"score {measured['score']:.2f} 1e-4" in str(page.gate_result)

    def test_forgotten_repro(self, quick, tmp_path):
        """If `dvc repro` was forgotten, that is the headline and there are no metrics; no label helps the gate."""
        root = copied(quick, tmp_path)
        hydra_params.write_overrides(root, ["model.alpha=0.7"])
        hydra_params.write_params(root)
        page, code, output = shown(root)
        assert page.startswith("## ❌ The figures are not this change's: `dvc repro` was forgotten\n")
        assert "- train ran with model.alpha=0.5, and params.yaml has 0.7" in page
        assert "| <code>model.alpha</code> | <code>0.5</code> | <code>0.7</code> |" in page
        assert not re.search("Metrics|RMSE|mermaid", page)
        assert code == 1
        assert "FAILED  the figures are not this change's" in output

    @pytest.mark.parametrize("file", ["src/batchyield/modelling/train.py", "data/metrics/test.json", "dvc.yaml"])
    def test_other_inputs(self, quick, tmp_path, file):
        """Code, metrics and stages that are not those of the lock are found, committed or not."""
        root = copied(quick, tmp_path)
        text = (root / file).read_text()
        (root / file).write_text(text.replace(" -m ", " -W ignore -m ") if file == "dvc.yaml" else f"{text}\n")
        assert any(file in problem for problem in find_stale(root))

    def test_conflict(self, quick, tmp_path):
        """A merge of two models is a conflict with its remedy, in every command; `resolve` rebuilds and stages it."""
        root = copied(quick, tmp_path)
        built = (root / "dvc.lock").read_text()
        for branch, level in (("base", "0.8"), ("one", "0.7"), ("other", "0.5")):  # the last is what is built
            git.git("checkout", "-q", "-B", branch, "base" if branch != "base" else "HEAD", cwd=root)
            (root / "dvc.lock").write_text(built.replace("alpha: 0.5", f"alpha: {level}"))
            git.git("commit", "-qam", branch, cwd=root, settings=git.SCRATCH_SETTINGS)
        with pytest.raises(CommandError):
            git.git("merge", "-q", "one", cwd=root, settings=git.SCRATCH_SETTINGS)
        page, code, output = shown(root)
        for text in (page, output):
            assert "dvc.lock" in text
            assert "batchyield review resolve" in text
        assert page.startswith("## ❌ Nothing could be compared")
        assert code == 2
        done = run("batchyield", "review", "resolve", cwd=root).stdout
        assert "solved dvc.lock" in done
        assert git.git("diff", "--name-only", cwd=root) == ""
        assert find_stale(root) == ()


@pytest.fixture
def github():
    """A stand-in of GitHub's API that knows one pull request."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/repos/o/r/pulls/7" and self.headers["Authorization"] == "Bearer t"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(b'{"head": {"sha": "abc"}}' if found else b"{}")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("number", "head", "refused"),
    [
        ("7\n", "abc", None),
        ("7", "other", "head of pull request 7 is abc, but the report is of other"),
        ("8", "abc", "returned no head"),
        ("7/../8", "abc", "is not a pull request number"),
        ("$(id)", "abc", "is not a pull request number"),
    ],
)
def test_comment_target(tmp_path, github, number, head, refused):
    (tmp_path / "number").write_text(number)
    (tmp_path / "report.md").write_text("é" * 70_000)
    if refused:
        with pytest.raises(BatchyieldError, match=refused):
            comment_target.find_pull_request(tmp_path, github, "o/r", head, "t")
        return
    output = tmp_path / "output"
    given = {"GITHUB_API_URL": github, "GITHUB_REPOSITORY": "o/r", "HEAD_SHA": head, "GITHUB_TOKEN": "t"}
    run("make", "comment-target", f"REVIEW={tmp_path}", cwd=ROOT, GITHUB_OUTPUT=str(output), **given)
    assert output.read_text() == "number=7\n"
    assert len((tmp_path / "report.md").read_text()) > comment_target.MAX_COMMENT_CHARACTERS - 200
    assert len((tmp_path / "report.md").read_text()) <= comment_target.MAX_COMMENT_CHARACTERS


@pytest.mark.parametrize("size", [65_000, 90_000])
def test_truncated_report(size):
    """A report that is too long ends after a whole line, and its open section and block are closed."""
    cut = comment_target.truncate("<details><summary>s</summary>\n\n```mermaid\n" + "| a | b |\n" * size)
    assert len(cut) <= comment_target.MAX_COMMENT_CHARACTERS
    assert cut.endswith(f"| a | b |\n```\n\n</details>{comment_target.CUT}")


@pytest.mark.skipif(
    not (MERMAID / "node_modules/mermaid").is_dir(), reason="BATCHYIELD_MERMAID names no folder with mermaid and jsdom"
)
def test_mermaid_parses_charts(tmp_path):
    drawn = xychart(
        'a "title"', ("x", ["a", "b"]), ("y", -0.5, 1.5), [("bar", [0.1, 1e-7]), ("line", [1, 1])], ["#000"] * 2
    )
    source = json.dumps("\n".join(drawn[1:-2]))
    script = f"""
        const {{JSDOM}} = await import('jsdom');
        globalThis.window = new JSDOM('').window;
        globalThis.document = window.document;
        const {{default: mermaid}} = await import('mermaid');
        await mermaid.parse({source});
        console.log('read');"""
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=MERMAID, capture_output=True, text=True, timeout=60
    )
    assert "read" in done.stdout, done.stderr
