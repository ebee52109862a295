import subprocess
import sys

import pytest
from support.commands import ROOT

SCRIPT = ROOT / "benchmarks/quality.py"


def quality(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_help_names_the_files_and_every_choice_of_model():
    code, out, _ = quality("--help")
    assert code == 0
    assert "jinnan_round1_ansA_20190125.csv" in out
    assert all(path.stem in out for path in (ROOT / "conf/model").glob("*.yaml"))


def test_a_folder_without_the_files_is_refused_with_a_remedy(tmp_path):
    code, out, output = quality("--data", tmp_path)
    assert (code, out) == (2, "")
    assert "jinnan_round1_train_20181227.csv is not a file" in output
    assert "--data FOLDER" in output


@pytest.mark.real_data
def test_the_mean_measures_as_it_is_known_and_gives_no_verdict(real_data):
    code, out, _ = quality("--data", real_data, "--only", "mean")
    row = next(line for line in out.splitlines() if line.startswith("| mean"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert code == 0
    assert float(cells[1].split()[0]) == pytest.approx(4.77, abs=0.01)
    assert float(cells[3].split()[0]) == pytest.approx(4.40, abs=0.01)
    assert "no verdict" in out


@pytest.mark.real_data
@pytest.mark.slow
def test_the_default_choice_meets_its_targets(real_data):
    code, out, _ = quality("--data", real_data, "--only", "line_trees")
    assert out.count("PASS ") == 10, out
    assert code == 0
