"""The command line as a whole: help, examples, exit codes, suggestions, JSON."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import fields
from support.commands import ROOT, run

from api.settings import OTHER_VARIABLES, Settings
from batchyield.cli.__main__ import build_parser, main
from batchyield.cli.options import misspelt_variables

EXTRA_MODULES = "altair|dask|distributed|dvc|httpx|litestar|numpy|optuna|pandas|sklearn|sqlalchemy"


def leaves(parser):
    """Yield the parsers of all commands below a parser."""
    if parser.commands is None:
        yield parser
        return
    for child in parser.commands.choices.values():
        yield from leaves(child)


def nouns(parser):
    """Yield the parsers below a parser that have commands of their own."""
    if parser.commands is not None:
        yield parser
        for child in parser.commands.choices.values():
            yield from nouns(child)


LEAVES = {parser.prog.removeprefix("batchyield "): parser for parser in leaves(build_parser())}
NOUNS = {parser.prog: parser for parser in nouns(build_parser())}


class TestHelp:
    @pytest.mark.parametrize("command", LEAVES)
    def test_description_and_example(self, command):
        """Each command has a description of one line, and its example parses."""
        parser = LEAVES[command]
        assert parser.description.endswith((".", "?"))
        assert len(parser.description) <= 120
        assert "\n" not in parser.description
        program, *arguments = shlex.split(re.fullmatch(r"Example: (.*)", parser.epilog)[1])
        assert program == "batchyield"
        assert build_parser().parse_args(arguments).parser.prog == parser.prog

    @pytest.mark.parametrize("prog", NOUNS)
    def test_noun_alone(self, prog, capsys):
        """The program or a noun alone prints its help and ends with 2."""
        assert main(prog.split()[1:]) == 2
        printed = capsys.readouterr().out
        assert printed == NOUNS[prog].format_help()
        assert all(name in printed for name in NOUNS[prog].commands.choices)

    def test_exit_codes_are_documented(self):
        assert re.findall(r"^  (\d+) ", build_parser().format_help(), re.MULTILINE) == ["0", "1", "2", "130", "141"]

    def test_help_imports_nothing_heavy(self):
        """The help needs the standard library alone, so it also works in the service image."""
        code = (
            "import sys, contextlib\n"
            "from batchyield.cli.__main__ import main\n"
            "with contextlib.suppress(SystemExit): main(['--help'])\n"
            f"print(*sorted(set(sys.modules) & set('{EXTRA_MODULES}'.split('|'))), file=sys.stderr)"
        )
        done = run(sys.executable, "-c", code, cwd=ROOT, PYTHONPATH="src")
        assert done.stderr.strip() == ""
        assert "exit codes:" in done.stdout

    def test_version(self):
        assert re.fullmatch(r"batchyield \d+\.\d+\.\d+\S*\n", run("batchyield", "--version", cwd=ROOT).stdout)


class TestVariables:
    def test_misspelt(self, capsys, monkeypatch):
        """A variable that is close to one that commands read is reported, and the command runs."""
        monkeypatch.setenv("BATCHYIELD_BUKET", "mine")
        assert main(["--version"]) == 0
        warning = "batchyield: warning: BATCHYIELD_BUKET is not read; did you mean BATCHYIELD_BUCKET?\n"
        assert capsys.readouterr().err == warning

    def test_settings_of_the_service(self):
        """Variables that the service reads are none."""
        assert misspelt_variables([*OTHER_VARIABLES, *(field.encode_name for field in fields(Settings))]) == []


class TestErrors:
    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ("modle", "did you mean 'model'?"),
            ("data s3 strat", "did you mean 'start'?"),
            ("data audit --jsn", "did you mean '--json'?"),
            ("data audit --what", "unrecognized arguments: --what\n"),
            ("release promote", "the following arguments are required: environment\n"),
            ("score batches.csv", "invalid choice: 'score'"),
            ("data s3 start --s3-port 0", "'0' is not a port from 1 to 65535"),
        ],
    )
    def test_wrong_usage(self, command, message, capsys):
        """Wrong usage ends with 2 and suggests the name that is meant, if there is one close to it."""
        with pytest.raises(SystemExit) as caught:
            main(command.split())
        assert caught.value.code == 2
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("module", "command", "extra"),
        [
            ("dvc", "pin trace HEAD", "train"),
            ("httpx", "model score no.csv", "client"),
            ("sqlalchemy", "journal status", "serve"),
            ("distributed", "model score no.csv --workers 1", "scale"),
            ("altair", "drift report --since 1d --out no.html", "report"),
        ],
    )
    def test_missing_package(self, module, command, extra, tmp_path):
        """A command whose package is missing ends with 2 and names the extra."""
        code = (
            f"import sys; sys.modules[{module!r}] = None\n"
            "from batchyield.cli.__main__ import main\n"
            "sys.exit(main(sys.argv[1:]))"
        )
        (tmp_path / "no.csv").write_text("")
        arguments = [sys.executable, "-c", code, *command.split(), *lock_option(command)]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert f"install the extra: pip install 'batchyield[{extra}]'" in done.stderr


def lock_option(command):
    return ["--lock", str(ROOT / "dvc.lock")] if "--workers" in command else []


class TestJson:
    @pytest.mark.parametrize(
        ("command", "code"),
        [
            ("deploy status --models none", 0),
            ("journal status --journal none.sqlite", 2),
            ("keys list --file none", 0),
            ("keys add a --scope read --file keys", 0),
            ("release list", 0),
            (f"review gate --params {ROOT}/params.yaml", 0),  # of other files, the lock is not checked
        ],
    )
    def test_parses(self, command, code, capsys, monkeypatch, tmp_path):
        """The standard output of `--json` is one JSON value; a refusal prints nothing there."""
        monkeypatch.chdir(ROOT if command.startswith(("release", "review")) else tmp_path)
        assert main([*command.split(), "--json"]) == code
        printed = capsys.readouterr().out
        if code == 2:
            assert printed == ""
        else:
            json.loads(printed)


@contextlib.contextmanager
def reader_gone():
    """Make standard output a pipe whose reader has gone; a small output stays in the buffer until it is flushed."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="ascii") as stream, contextlib.redirect_stdout(stream):
        yield


FILES_OF_THE_USER = """
data import {}
data rebuild {}
data rebuild README.md --into {}
data simulate --rows 5 --out {}
deploy rollback --models {}
deploy status --models {}
journal export --journal {}
journal prune --before 7d --journal {}
journal restore {}
journal status --journal {}
keys add a --scope read --file {}
keys list --file {}
model replay --since 1d --model {}
model score {}
model score {} --local
model score {} --workers 1 --lock {}
model search {}
pin trace {}
plant new {} --target x
review gate --params {}
review report --base HEAD --out {}
"""


class TestFiles:
    @pytest.mark.parametrize("command", FILES_OF_THE_USER.strip().splitlines())
    def test_unusable_path(self, command, capsys, monkeypatch):
        """A path that the operating system refuses is an error that names it."""
        monkeypatch.chdir(ROOT)
        path = "/" + "long" * 100
        assert main(command.replace("{}", path).split()) == 2
        assert re.search(rf"batchyield: .*{path}.*(File name too long|not)", capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("command", "make"),
        [
            *product(
                ["data simulate", "drift report --since 1d", "review report --base HEAD"], [Path.mkdir, os.mkfifo]
            ),
            ("model score batches.csv", os.mkfifo),  # a folder gets a file for each
        ],
    )
    def test_no_regular_file(self, command, make, tmp_path, capsys):
        """What is no regular file is refused before any work, and is not replaced by a file."""
        make(tmp_path / "out")
        with pytest.raises(SystemExit):
            main([*command.split(), "--out", str(tmp_path / "out")])
        assert "out is no regular file; standard output goes into pipes" in capsys.readouterr().err

    def test_folder_for_a_service(self, tmp_path, capsys):
        """A folder without a CSV is named, not the file to write."""
        assert main(["model", "score", str(tmp_path), "--out", str(tmp_path / "scored.csv")]) == 2
        assert f"{tmp_path} matches no file" in capsys.readouterr().err


class TestOutput:
    @pytest.mark.parametrize("command", [*LEAVES, *(prog.removeprefix("batchyield").strip() for prog in NOUNS)])
    def test_reader_gone(self, command):
        """Each command ends quietly with 141 if the reader of its output went away."""
        with reader_gone():
            assert main([*command.split(), "--help"]) == 141

    @pytest.mark.parametrize("command", ["keys list --file none", "deploy status --json", "data simulate --rows 50"])
    def test_reader_gone_later(self, command, monkeypatch):
        """So it does where a command and not its parser prints."""
        monkeypatch.chdir(ROOT)
        with reader_gone():
            assert main(command.split()) == 141

    def test_full_disk(self, monkeypatch, tmp_path, capsys):
        """Output that cannot be written is an error with its reason, not a success."""
        monkeypatch.chdir(tmp_path)
        with Path("/dev/full").open("w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
            assert main(["keys", "list", "--file", "none", "--json"]) == 2
        assert "standard output cannot be written: No space left on device" in capsys.readouterr().err

    def test_other_encoding(self, monkeypatch):
        """A file or a pipe gets UTF-8 whatever the locale."""
        monkeypatch.setattr("batchyield.cli.keys._list", lambda _: print("工厂"))
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-1")) as output:
            assert main(["keys", "list"]) == 0
        assert output.buffer.getvalue() == "工厂\n".encode()
