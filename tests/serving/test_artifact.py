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


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path)


def opened(root):
    directory = root / "data" / "model"
    return open_artifact(directory, read_pins(root / "dvc.lock", directory))


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_opens_what_was_written(checkout):
    found = opened(checkout)
    assert found.card == card()
    assert found.reference == REFERENCE
    assert found.md5 == md5(checkout / "data/model/model.onnx")
    assert dict(found.pins) == {name: md5(checkout / "data/model" / name) for name in FILES}
    assert found.predictor.predict(found.golden.batches) == list(found.golden.predictions)
    assert len(found.golden.batches) == 20


def test_equal_input_gives_equal_bytes(tmp_path):
    one, two = (make_checkout(tmp_path / name) for name in ("one", "two"))
    for name in FILES:
        assert (one / "data/model" / name).read_bytes() == (two / "data/model" / name).read_bytes()


def test_json_is_sorted_indented_and_ends_its_line(checkout):
    for name in ("card.json", "golden.json"):
        text = (checkout / "data/model" / name).read_text()
        assert text.endswith("\n")
        assert list(json.loads(text)) == sorted(json.loads(text))
        assert '\n  "' in text


def test_the_order_of_a_dictionary_does_not_reach_the_card():
    turned = {name: card().versions[name] for name in reversed(card().versions)}
    forwards, backwards = card(params={"a": 1, "b": 2}), card(params={"b": 2, "a": 1}, versions=turned)
    assert artifact.canonical_json(forwards) == artifact.canonical_json(backwards)


def test_a_failed_write_leaves_the_old_file(checkout, monkeypatch):
    before = {name: md5(checkout / "data/model" / name) for name in FILES}
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
    with pytest.raises(WriteError, match=r"(?s)disk full.*make room"):
        write_artifact(
            checkout / "data/model", linear_onnx(0.6), card(), golden_rows(linear_onnx(0.6), batches(1)), b"[]"
        )
    assert {name: md5(checkout / "data/model" / name) for name in FILES} == before
    assert sorted(p.name for p in (checkout / "data/model").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_changed_bytes_are_refused_with_both_hashes(checkout, name):
    file = checkout / "data/model" / name
    was = md5(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        opened(checkout)
    assert str(caught.value).startswith(f"{file}: is not the pinned file: expected md5 {was}, found {md5(file)}\n")


def test_wrong_bytes_are_refused_before_anything_parses_them(checkout, monkeypatch):
    (checkout / "data/model/reference.json").write_bytes(b"other")
    monkeypatch.setattr(artifact, "Predictor", lambda *_: pytest.fail("parsed the model"))
    monkeypatch.setattr(msgspec.json, "decode", lambda *_, **__: pytest.fail("parsed the JSON"))
    with pytest.raises(ArtifactError, match="not the pinned file"):
        opened(checkout)


def test_each_file_is_read_once(checkout, monkeypatch):
    seen = []
    read = type(checkout).read_bytes
    monkeypatch.setattr(type(checkout), "read_bytes", lambda self: seen.append(self.name) or read(self))
    opened(checkout)
    assert sorted(seen) == sorted([*FILES, "dvc.lock"])


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_with_its_pin(checkout, name):
    file = checkout / "data/model" / name
    was = md5(file)
    file.unlink()
    with pytest.raises(ArtifactError, match=f"{name}: cannot be read: .*; the pin is md5 {was}"):
        opened(checkout)


def test_an_unreadable_file_is_named(checkout):
    pins = read_pins(checkout / "dvc.lock", checkout / "data/model")
    (checkout / "data/model/model.onnx").unlink()
    (checkout / "data/model/model.onnx").mkdir()
    with pytest.raises(ArtifactError, match=r"model\.onnx: cannot be read: Is a directory"):
        open_artifact(checkout / "data/model", pins)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_pin_is_named(checkout, name):
    lines = (checkout / "dvc.lock").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.endswith(name))
    (checkout / "dvc.lock").write_text("\n".join(lines[:start] + lines[start + 4 :]))
    with pytest.raises(ArtifactError, match=f"dvc.lock: does not pin data/model/{name}"):
        opened(checkout)


def test_a_pin_that_is_not_handed_over_is_no_pin(checkout):
    directory = checkout / "data/model"
    pins = read_pins(checkout / "dvc.lock", directory)
    with pytest.raises(ArtifactError, match=r"card\.json: has no pin"):
        open_artifact(directory, {name: md5 for name, md5 in pins.items() if name != "card.json"})


def test_a_missing_lock_is_named(checkout):
    (checkout / "dvc.lock").unlink()
    with pytest.raises(ArtifactError, match=r"dvc\.lock: cannot be read"):
        opened(checkout)


@pytest.mark.parametrize("text", ["", "{", "stages: 3", "a: [", "\x00", "stages:\n  train:\n    outs: 7"])
def test_an_unreadable_lock_is_named(checkout, text):
    (checkout / "dvc.lock").write_text(text)
    with pytest.raises(ArtifactError, match=r"dvc\.lock: "):
        opened(checkout)


@given(data=st.binary(max_size=200))
@settings(max_examples=60)
def test_any_lock_at_all_opens_nothing(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "dvc.lock").write_bytes(data)
    with pytest.raises(ArtifactError):
        read_pins(root / "dvc.lock", root / "data/model")


def test_a_model_folder_that_is_a_link_is_pinned_by_its_name(checkout, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("cache") / "model"
    (checkout / "data/model").rename(elsewhere)
    (checkout / "data/model").symlink_to(elsewhere)
    assert opened(checkout).card == card()


def test_relative_paths_name_the_same_pins(checkout, monkeypatch):
    directory = checkout / "data/model"
    monkeypatch.chdir(checkout / "data")
    relative = type(checkout)("../dvc.lock"), type(checkout)("model")
    assert read_pins(*relative) == read_pins(checkout / "dvc.lock", directory)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (tuple(NAMES[:-1]), f"only this code has ['{NAMES[-1]}']"),
        ((*NAMES, "B99"), "only the model has ['B99']"),
        (tuple(reversed(NAMES)), "in another order"),
    ],
)
def test_a_model_of_other_features_is_refused(tmp_path, features, message):
    make_checkout(tmp_path, features=features)
    with pytest.raises(ArtifactError) as caught:
        opened(tmp_path)
    assert message in str(caught.value)


def test_a_model_that_answers_otherwise_is_refused_with_the_largest_difference(tmp_path):
    make_checkout(tmp_path, model=linear_onnx(per_kilogram=0.00101))
    with pytest.raises(ArtifactError) as caught:
        opened(tmp_path)
    assert "golden.json: golden rows are not predicted as recorded: row 19 (batch 19) differs by 0.00419" in str(
        caught.value
    )


@pytest.mark.parametrize("field", ["yield", "lower", "upper"])
@pytest.mark.parametrize(("by", "opens"), [(0.9e-6, True), (2e-6, False)])
def test_each_number_of_a_golden_row_counts_to_a_millionth(checkout, field, by, opens):
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
def test_golden_rows_without_answers_are_refused(checkout, change):
    file = checkout / "data/model/golden.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    pin(checkout)
    with pytest.raises(ArtifactError, match="expected the same number of both, at least 1"):
        opened(checkout)


@pytest.mark.parametrize("name", ["card.json", "golden.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"surplus": 1}', "\udcff"])
def test_pinned_json_of_another_form_is_refused(checkout, name, text):
    (checkout / "data/model" / name).write_bytes(text.encode(errors="surrogateescape"))
    pin(checkout)
    with pytest.raises(ArtifactError, match=f"{name}: cannot be read by this code"):
        opened(checkout)


def test_a_pinned_file_that_is_no_model_is_refused(checkout):
    (checkout / "data/model/model.onnx").write_bytes(b"pinned, but no model")
    pin(checkout)
    with pytest.raises(ArtifactError, match=r"model\.onnx: is not a model that onnxruntime can open"):
        opened(checkout)
