"""Texts: their files, and features by a model made here."""

import json

import pytest
import torch

from cvxdistill.cli import main
from cvxdistill.data.texts import TextItems
from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import InputError
from cvxdistill.features import parse_text_model

TEXTS = ["a b c", "c c\ta", 'b, "a"', "line\none", "ü b"]
LABELS = ["x", "y", "x", "y", "x"]


def write_table(path, columns):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `arrow`)")
    from pyarrow import csv, parquet

    table = pa.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        rows = table.to_pylist()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_tables_of_texts(suffix, tmp_path):
    path = write_table(tmp_path / f"t{suffix}", {"id": range(5), "text": TEXTS, "kind": LABELS})
    items = TextItems(path, label_column="kind")
    assert items.kind == "texts"
    assert items.class_names == ("x", "y")
    assert items.labels.tolist() == [0, 1, 0, 1, 0]
    assert items.read(1, 4).content == TEXTS[1:4]
    known = TextItems(path, label_column="kind", class_names=("z", "y", "x"))
    assert known.labels.tolist() == [2, 1, 2, 1, 2]
    assert known.fingerprint() != items.fingerprint()
    assert TextItems(path, text_column="kind").read(0, 2).content == ["x", "y"]
    with pytest.raises(InputError, match=r"no column `nothing`; it has id, text, kind"):
        TextItems(path, label_column="nothing")
    with pytest.raises(InputError, match="must hold texts; got a int in row 0"):
        TextItems(path, text_column="id")


def test_plain_text_has_a_text_a_line(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("one\n\ntwo\u2028still two\n", encoding="utf-8")
    items = TextItems(path)
    assert items.read(0, 3).content == ["one", "", "two\u2028still two"]
    assert items.labels is None
    assert items.class_names is None
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="cannot be read as UTF-8 text"):
        TextItems(path)
    with pytest.raises(InputError, match="nothing readable"):
        TextItems(tmp_path / "none.txt")
    with pytest.raises(InputError, match="has no columns"):
        TextItems(path, label_column="kind")


def test_nulls_are_refused(tmp_path):
    path = write_table(tmp_path / "t.parquet", {"text": ["a", None]})
    with pytest.raises(InputError, match="must be full; got 1 nulls"):
        TextItems(path)


def test_names_of_text_models():
    model = parse_text_model("text:folder/of model,prompt=query: ,max_length=16")
    assert (model.model, model.prompt, model.max_length) == ("folder/of model", "query:", 16)
    assert str(model) == "text:folder/of model,prompt=query:,max_length=16"
    with pytest.raises(InputError, match="must name a model"):
        parse_text_model("text:")
    with pytest.raises(InputError, match="Did you mean `normalise`"):
        parse_text_model("text:x,normalize=true")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A BERT of random weights with a vocabulary of its own, saved as a text model."""
    pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed (extra `text`)"
    )
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as stages
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcxyz", "line", "one", ","]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        )
        BertModel(config).save_pretrained(folder / "bert")
    bert = stages.Transformer(str(folder / "bert"))
    pooling = stages.Pooling(8)
    SentenceTransformer(modules=[bert, pooling], device="cpu").save(str(folder / "whole"))
    return folder / "whole"


# Importing transformers takes longer than all of this.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_texts_become_features(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = parse_text_model(f"text:{model}").load()
    state = torch.get_rng_state()
    features = encoder(TEXTS)
    assert torch.equal(torch.get_rng_state(), state)
    assert features.shape == (5, encoder.num_features) == (5, 8)
    # A text's features do not depend on how long the others are.
    torch.testing.assert_close(encoder(TEXTS[:1]), features[:1], rtol=1e-4, atol=1e-5)
    normal = parse_text_model(f"text:{model},normalise=true").load()
    torch.testing.assert_close(normal(TEXTS), torch.nn.functional.normalize(features))
    prompted = parse_text_model(f"text:{model},prompt=x").load()
    shorter = parse_text_model(f"text:{model},max_length=4").load()
    same = parse_text_model(f"text:{model}").load()
    assert same.fingerprint() == encoder.fingerprint()
    kinds = {one.fingerprint() for one in (encoder, normal, prompted, shorter)}
    assert len(kinds) == 4
    with torch.no_grad():
        next(same.model.parameters()).add_(1e-3)
    assert same.fingerprint() not in kinds

    write_table(tmp_path / "t.parquet", {"text": TEXTS, "kind": LABELS})
    words = ["--target", "t.parquet", "--label-column", "kind", "--device", "cpu", "--json"]
    assert main(["embed", *words, "--extractor", f"text:{model}", "--out", "shards"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["fingerprint"] == encoder.fingerprint()
    reader = open_embeddings("shards")
    assert reader.layout.target_names == ("x", "y")
    rows = next(reader.rows())
    torch.testing.assert_close(rows.features, features, rtol=1e-4, atol=1e-5)
    assert rows.targets.tolist() == [0, 1, 0, 1, 0]
    assert main(["embed", "--target", "digits", "--extractor", f"text:{model}"]) == 2
    assert "takes texts; `digits` must be" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be read as a text model"):
        parse_text_model(f"text:{tmp_path}").load()
