"""Weights in every form: shards, GGUF, adapters on top, and quantised ones where the library is there."""

import json

import gguf
import numpy as np
import pytest
import torch
import transformers

import rhat
from labs import contrast_set, tiny_finding
from refusing import refusing_folder, refusing_hf
from rhat.errors import DirectionError, ModelError
from rhat.heads.attribution import output_weight
from rhat.model import last_logits
from rhat.model.check import check
from tiny import MERGES, TEMPLATE, VOCAB, tiny_tokenizer

TEXTS = ["Break the lock of the house.", "Paint the wall of the school."]
N_LAYERS = 3
QUANTISE = {"hidden_size": 64, "intermediate_size": 128}  # rows of packed weights are multiples of 32


def logits(model):
    return torch.cat([x for _, x in last_logits(model, model.plan(TEXTS, max_rows=1))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return refusing_folder(tmp_path_factory.mktemp("models") / "whole", **QUANTISE)


@pytest.fixture(scope="module")
def whole(folder):
    return rhat.load(folder, dtype="float32")


def test_shards_are_put_together(folder, whole, tmp_path):
    whole.hf.save_pretrained(tmp_path, max_shard_size="100kB")
    tiny_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    torch.testing.assert_close(logits(rhat.load(tmp_path, dtype="float32")), logits(whole), rtol=0, atol=0)


def test_a_shard_that_is_missing_is_said(whole, tmp_path):
    whole.hf.save_pretrained(tmp_path, max_shard_size="100kB")
    tiny_tokenizer().save_pretrained(tmp_path)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded .*model-00002"):
        rhat.load(tmp_path)


def test_a_fine_tune_is_another_model(folder, whole, tmp_path):
    """Its files have the same names and sizes."""
    refusing_folder(tmp_path / "tuned", steps=1, **QUANTISE)
    tuned = rhat.load(tmp_path / "tuned", dtype="float32")
    assert (tmp_path / "tuned" / "model.safetensors").stat().st_size == (folder / "model.safetensors").stat().st_size
    assert tuned.identity != whole.identity
    assert rhat.load(folder, dtype="float32").identity == whole.identity


# GGUF


def write_gguf(path, hf):
    """A Qwen2 model as a GGUF file: matrices in Q8_0, the rest in float32, the tokenizer and template inside."""
    out = gguf.GGUFWriter(str(path), "qwen2")
    config = hf.config
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(10000.0)
    vocab = sorted(tiny_tokenizer().get_vocab().items(), key=lambda pair: pair[1])
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list([token for token, _ in vocab])
    out.add_token_types([3 if i < 5 else 1 for i in range(VOCAB)])
    out.add_token_merges([f"{left} {right}" for left, right in MERGES])
    out.add_eos_token_id(1)
    out.add_pad_token_id(0)
    out.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in hf.state_dict().items():
        data, q8 = weight.float().numpy(), gguf.GGMLQuantizationType.Q8_0
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if data.ndim == 2:
            out.add_tensor(known, gguf.quants.quantize(data, q8), raw_dtype=q8)
        else:
            out.add_tensor(known, np.ascontiguousarray(data))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


@pytest.fixture
def qwen():
    config = transformers.Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=N_LAYERS,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def test_a_gguf_file_is_dequantised_once_and_says_what_its_weights_say(qwen, tmp_path, monkeypatch):
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "tiny.gguf", qwen)
    model = rhat.load(tmp_path / "tiny.gguf", dtype="float32")
    assert model.weight_format == "GGUF, dequantised to bfloat16"
    assert model.tokenize(TEXTS) == rhat.load((qwen, tiny_tokenizer())).tokenize(TEXTS)
    assert all(type(p.attn_proj) is torch.nn.Linear for p in model.layout.parts)
    rounded = qwen.state_dict()
    for name, weight in rounded.items():
        if weight.ndim == 2:  # what Q8_0 and then bfloat16 leave of it, by gguf's own arithmetic
            q8 = gguf.GGMLQuantizationType.Q8_0
            weight = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), q8), q8))
        rounded[name] = weight.bfloat16().float()
    qwen.load_state_dict(rounded)
    torch.testing.assert_close(logits(model), logits(rhat.load((qwen, tiny_tokenizer()))))
    monkeypatch.setattr("rhat.model.source.convert", None)  # the second time it is there
    assert rhat.load(tmp_path / "tiny.gguf").identity == model.identity


@pytest.mark.parametrize("content", [b"", b"GGUF and then nothing"])
def test_a_damaged_gguf_file_is_said(content, tmp_path, monkeypatch):
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(
        ModelError, match=r"bad\.gguf: (not a GGUF file that transformers can read|cannot be converted)"
    ):
        rhat.load(tmp_path / "bad.gguf")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


# Adapters


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install 'rhat[peft]'")
    out = tmp_path_factory.mktemp("models") / "adapter"
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(refusing_hf(**QUANTISE), settings).eval()
    tuned.save_pretrained(out)
    return out, tuned


def test_an_adapter_is_put_on_top(folder, whole, adapter):
    path, tuned = adapter
    model = rhat.load(folder, dtype="float32", adapter=path)
    ids = torch.tensor([model.tokenize(TEXTS)[0]])
    with torch.no_grad():
        torch.testing.assert_close(model.hf(ids).logits, tuned(ids).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(model), logits(whole), atol=1e-2)
    assert model.weight_format == "safetensors, with the adapter adapter"
    assert check(model).ok
    with pytest.raises(DirectionError, match="direction of another model"):
        tiny_finding(whole, contrast_set()).direction.check_fits(model)


def test_an_adapter_of_another_model_is_refused(adapter, tmp_path):
    other = refusing_folder(tmp_path / "other", steps=0)
    with pytest.raises(ModelError, match="the adapter does not fit this model"):
        rhat.load(other, adapter=adapter[0])


# Quantised


def quantised(folder, out, library):
    """The model saved in packed form by `library`."""
    if library == "torchao":
        pytest.importorskip("torchao", reason="torchao is not installed")
        from torchao.quantization import Int8WeightOnlyConfig

        settings = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    else:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
        settings = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    hf = transformers.AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=torch.float32, device_map="cpu"
    )
    hf.save_pretrained(out)
    tiny_tokenizer().save_pretrained(out)
    return out


@pytest.mark.parametrize(("library", "error"), [("torchao", 0.03), ("bitsandbytes", 0.3)])
def test_packed_weights_are_read_edited_and_attributed(folder, whole, tmp_path, library, error):
    model = rhat.load(quantised(folder, tmp_path / library, library), dtype="float32")
    assert json.loads((tmp_path / library / "config.json").read_text())["quantization_config"]
    assert model.weight_format.startswith("safetensors, quantised (")
    report = check(model)
    assert report.ok, [row for row in report.rows() if row["outcome"] == "failed"]
    assert not report.absent
    said, truth = logits(model), logits(whole)
    assert 0 < float((said - truth).norm() / truth.norm()) < error
    assert [c.text for c in model.generate(TEXTS, 12)] == [c.text for c in whole.generate(TEXTS, 12)]
    direct = output_weight(model, 2)
    assert float((direct - output_weight(whole, 2)).norm() / output_weight(whole, 2).norm()) < error
