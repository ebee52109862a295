import errno
import hashlib
import json
import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.service import NAMES, REFERENCE, batches, card, linear_onnx, make_checkout, pin

from batchyield.errors import ArtifactError, WriteError
from batchyield.serving import artifact
from batchyield.serving.artifact import FILES, golden_rows, open_artifact, read_pins, write_artifact
from batchyield.serving.predictor import Predictor
from batchyield.serving.reference_profile import read_reference
from batchyield.serving.shapley import Explainer


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path)


def opened(root):
    directory = root / "data" / "model"
    return open_artifact(directory, read_pins(root / "dvc.lock", directory))


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_round_trip(checkout):
    """An artifact opens with the card, reference and golden rows that were written."""
    loaded = opened(checkout)
    assert loaded.card == card()
    assert loaded.reference == REFERENCE
    assert loaded.md5 == md5(checkout / "data/model/model.onnx")
    assert dict(loaded.pins) == {name: md5(checkout / "data/model" / name) for name in FILES}
    assert loaded.predictor.predict(loaded.golden.batches) == list(loaded.golden.predictions)
    assert len(loaded.golden.batches) == 20


def test_reproducible_bytes(tmp_path):
    """Equal inputs give equal bytes in every file."""
    one, two = (make_checkout(tmp_path / name) for name in ("one", "two"))
    for name in FILES:
        assert (one / "data/model" / name).read_bytes() == (two / "data/model" / name).read_bytes()


def test_json_format(checkout):
    """JSON files have sorted keys, an indent and a final newline."""
    for name in ("card.json", "golden.json"):
        text = (checkout / "data/model" / name).read_text()
        assert text.endswith("\n")
        assert list(json.loads(text)) == sorted(json.loads(text))
        assert '\n  "' in text


def test_canonical_json():
    """The card's bytes do not depend on the order of its dictionaries."""
    turned = {name: card().versions[name] for name in reversed(card().versions)}
    forwards, backwards = card(params={"a": 1, "b": 2}), card(params={"b": 2, "a": 1}, versions=turned)
    assert artifact.canonical_json(forwards) == artifact.canonical_json(backwards)


def test_failed_write(checkout, monkeypatch):
    """A failed write leaves the old files and no temporary ones."""
    before = {name: md5(checkout / "data/model" / name) for name in FILES}
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
    with pytest.raises(WriteError, match=r"(?s)disk full.*make room"):
        write_artifact(
            checkout / "data/model", linear_onnx(0.6), card(), golden_rows(linear_onnx(0.6), batches(1)), b"[]"
        )
    assert {name: md5(checkout / "data/model" / name) for name in FILES} == before
    assert sorted(p.name for p in (checkout / "data/model").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_changed_bytes(checkout, name):
    """A file with other bytes is refused; the error names the expected and the actual hash."""
    file = checkout / "data/model" / name
    was = md5(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        opened(checkout)
    assert str(caught.value).startswith(f"{file}: is not the pinned file: expected md5 {was}, found {md5(file)}\n")


def test_hash_before_parsing(checkout, monkeypatch):
    """Hashes are checked before any file is parsed."""
    (checkout / "data/model/reference.json").write_bytes(b"other")
    monkeypatch.setattr(artifact, "Predictor", lambda *_: pytest.fail("parsed the model"))
    monkeypatch.setattr(msgspec.json, "decode", lambda *_, **__: pytest.fail("parsed the JSON"))
    with pytest.raises(ArtifactError, match="not the pinned file"):
        opened(checkout)


def test_single_read(checkout, monkeypatch):
    """Each file is read once, so that the checked bytes are the parsed ones."""
    seen = []
    read = type(checkout).read_bytes
    monkeypatch.setattr(type(checkout), "read_bytes", lambda self: seen.append(self.name) or read(self))
    opened(checkout)
    assert sorted(seen) == sorted([*FILES, "dvc.lock"])


@pytest.mark.parametrize("name", FILES)
def test_missing_file(checkout, name):
    """The error for a missing file names it and its pin."""
    file = checkout / "data/model" / name
    was = md5(file)
    file.unlink()
    with pytest.raises(ArtifactError, match=f"{name}: cannot be read: .*; the pin is md5 {was}"):
        opened(checkout)


def test_unreadable_file(checkout):
    """The error for an unreadable file names it."""
    pins = read_pins(checkout / "dvc.lock", checkout / "data/model")
    (checkout / "data/model/model.onnx").unlink()
    (checkout / "data/model/model.onnx").mkdir()
    with pytest.raises(ArtifactError, match=r"model\.onnx: cannot be read: Is a directory"):
        open_artifact(checkout / "data/model", pins)


@pytest.mark.parametrize("name", FILES)
def test_missing_pin(checkout, name):
    """A dvc.lock without one of the files is refused by the file's name."""
    lines = (checkout / "dvc.lock").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.endswith(name))
    (checkout / "dvc.lock").write_text("\n".join(lines[:start] + lines[start + 4 :]))
    with pytest.raises(ArtifactError, match=f"dvc.lock: does not pin data/model/{name}"):
        opened(checkout)


def test_pin_not_passed(checkout):
    """A file whose pin is not passed is refused."""
    directory = checkout / "data/model"
    pins = read_pins(checkout / "dvc.lock", directory)
    with pytest.raises(ArtifactError, match=r"card\.json: has no pin"):
        open_artifact(directory, {name: md5 for name, md5 in pins.items() if name != "card.json"})


def test_missing_lock(checkout):
    """The error for a missing dvc.lock names it."""
    (checkout / "dvc.lock").unlink()
    with pytest.raises(ArtifactError, match=r"dvc\.lock: cannot be read"):
        opened(checkout)


@pytest.mark.parametrize("text", ["", "{", "stages: 3", "a: [", "\x00", "stages:\n  train:\n    outs: 7"])
def test_malformed_lock(checkout, text):
    """The error for a malformed dvc.lock names it."""
    (checkout / "dvc.lock").write_text(text)
    with pytest.raises(ArtifactError, match=r"dvc\.lock: "):
        opened(checkout)


@given(data=st.binary(max_size=200))
@settings(max_examples=60)
def test_arbitrary_lock(tmp_path_factory, data):
    """Arbitrary bytes in dvc.lock raise ArtifactError."""
    root = tmp_path_factory.mktemp("fuzz")
    (root / "dvc.lock").write_bytes(data)
    with pytest.raises(ArtifactError):
        read_pins(root / "dvc.lock", root / "data/model")


def test_linked_directory(checkout, tmp_path_factory):
    """A model directory that is a symbolic link is pinned under its own name."""
    elsewhere = tmp_path_factory.mktemp("cache") / "model"
    (checkout / "data/model").rename(elsewhere)
    (checkout / "data/model").symlink_to(elsewhere)
    assert opened(checkout).card == card()


def test_relative_paths(checkout, monkeypatch):
    """Relative paths find the same pins as absolute ones."""
    directory = checkout / "data/model"
    monkeypatch.chdir(checkout / "data")
    relative = type(checkout)("../dvc.lock"), type(checkout)("model")
    assert read_pins(*relative) == read_pins(checkout / "dvc.lock", directory)


def spoil_golden(root, **fields):
    """Add fields to each golden batch, as if the model had been trained with other readings."""
    file = root / "data/model/golden.json"
    golden = json.loads(file.read_text())
    golden["batches"] = [batch | fields for batch in golden["batches"]]
    file.write_text(json.dumps(golden))
    pin(root)


@pytest.mark.parametrize("names", [[n for n in NAMES if n not in ("A1", "A5_in_shift")], NAMES[::-1]])
def test_earlier_features(tmp_path, names):
    """A model of fewer features, or in another order, takes its own columns by name."""
    make_checkout(tmp_path, linear_onnx(names=names), features=tuple(names))
    spoil_golden(tmp_path, A0=1.0, A5=6)  # a reading that is no more, and one that was a number
    loaded = opened(tmp_path)
    assert [feature.name for feature in loaded.predictor.features] == names
    now = Predictor(linear_onnx())
    assert loaded.predictor.predict(batches(30)) == now.predict(batches(30))
    explainer = Explainer(loaded.predictor, read_reference(loaded.reference))
    assert explainer.explain(batches(3)) == Explainer(now, read_reference(REFERENCE)).explain(batches(3))


def test_other_meaning(tmp_path):
    """A model of fewer features whose columns mean something else now is refused by its golden rows."""
    make_checkout(tmp_path, linear_onnx(by="A1", names=NAMES[:-1]), features=tuple(NAMES[:-1]))
    with pytest.raises(ArtifactError, match="golden rows are not predicted as recorded"):
        opened(tmp_path)


def test_unknown_features(tmp_path):
    """A model of features that this code does not compute is refused in one sentence that names them."""
    make_checkout(tmp_path, features=(*NAMES, "B99", "B98"))
    spoil_golden(tmp_path, B99=1.0)
    with pytest.raises(ArtifactError, match=r"card.json: the model takes features that .* not compute: B99, B98\n"):
        opened(tmp_path)


def test_golden_mismatch(tmp_path):
    """A model that does not reproduce its golden rows is refused with the largest difference."""
    make_checkout(tmp_path, model=linear_onnx(per_kilogram=0.00101))
    with pytest.raises(ArtifactError) as caught:
        opened(tmp_path)
    assert "golden.json: golden rows are not predicted as recorded: row 19 (batch 19) differs by 0.00419" in str(
        caught.value
    )


@pytest.mark.parametrize("field", ["yield", "lower", "upper"])
@pytest.mark.parametrize(("by", "opens"), [(0.9e-6, True), (2e-6, False)])
def test_golden_tolerance(checkout, field, by, opens):
    """Golden predictions are compared with a tolerance of one millionth."""
    file = checkout / "data/model/golden.json"
    golden = json.loads(file.read_text())
    golden["predictions"][7][field] += by
    file.write_text(json.dumps(golden))
    pin(checkout)
    if opens:
        opened(checkout)
    else:
        with pytest.raises(ArtifactError, match=r"row 7 \(batch 7\)"):
            opened(checkout)


@pytest.mark.parametrize("change", [{"predictions": []}, {"batches": [], "predictions": []}])
def test_golden_counts(checkout, change):
    """Golden rows need as many predictions as batches, at least one."""
    file = checkout / "data/model/golden.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    pin(checkout)
    with pytest.raises(ArtifactError, match="expected the same number of both, at least 1"):
        opened(checkout)


@pytest.mark.parametrize("name", ["card.json", "golden.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"surplus": 1}', "\udcff"])
def test_malformed_json(checkout, name, text):
    """A pinned JSON file with an unknown structure is refused."""
    (checkout / "data/model" / name).write_bytes(text.encode(errors="surrogateescape"))
    pin(checkout)
    with pytest.raises(ArtifactError, match=f"{name}: cannot be read by this code"):
        opened(checkout)


def test_not_a_model(checkout):
    """A pinned model.onnx that is not a model is refused."""
    (checkout / "data/model/model.onnx").write_bytes(b"pinned, but no model")
    pin(checkout)
    with pytest.raises(ArtifactError, match=r"model\.onnx: is not a model that onnxruntime can open"):
        opened(checkout)
