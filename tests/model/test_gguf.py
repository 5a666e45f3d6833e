"""GGUF files, written as llama.cpp's converter writes them from a transformers model, whose logits are the truth."""

import json
import logging
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import pre_tokenizers
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

import rhat
from gguf_files import FAMILIES, keys_of, tensors_of, tiny_of, write_gguf
from rhat.errors import ModelError
from rhat.model.catalogue import CONVERTER, MARKER, is_converted
from rhat.model.gguf import convert
from rhat.model.gguf_config import Metadata, check_known, restore
from rhat.model.gguf_keys import ARCHITECTURES, GENERAL_KEYS, TOKENIZER_KEYS, UNUSED, key_of
from tiny import VOCAB, tiny_tokenizer

LENGTHS = (5, 60, 300)


def converted(path):
    """The model of a file, read from the folder that it is converted into."""
    folder = path.with_suffix("")
    convert(path, folder, "0" * 64)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def assert_same(got, right, lengths=LENGTHS):
    for n in lengths:
        rows = torch.randint(6, VOCAB, (1, n), generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            a, b = got(input_ids=rows).logits, right(input_ids=rows).logits
        assert float((a - b).norm() / b.norm()) < 1e-5, f"{n} tokens"


def write(path, architecture, hf, keys=None, tensors=None, whole=None):
    """The file of a model; `keys` and `tensors` change what is written (None: left out)."""
    held = {**tensors_of(architecture, hf), **(tensors or {})}
    held = {name: weight for name, weight in held.items() if weight is not None}
    return write_gguf(path, architecture, {**keys_of(architecture, hf), **(keys or {})}, held, whole)


# Architectures


def test_every_architecture_that_is_read_is_tried_here():
    assert set(ARCHITECTURES) == set(FAMILIES)


EPS = ("rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_file_is_the_model_it_was_written_from(architecture, tmp_path):
    hf = tiny_of(architecture)
    for field in EPS:  # not the default's
        if hasattr(hf.config, field):
            setattr(hf.config, field, 0.03)
            for module in hf.modules():
                for name in ("eps", "variance_epsilon"):
                    if hasattr(module, name):
                        setattr(module, name, 0.03)
    assert_same(converted(write(tmp_path / "m.gguf", architecture, hf)), hf)


# Rope


def llama3(**more):
    return {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, **more,
    }  # fmt: skip


def converter_factors(rope, dim):
    """What the converter writes into rope_freqs.weight for llama3 scaling."""
    out = []
    for frequency in 1 / rope["rope_theta"] ** (np.arange(0, dim, 2) / dim):
        wave, old = 2 * np.pi / frequency, rope["original_max_position_embeddings"]
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        smooth = (old / wave - low) / (high - low)
        out.append(1.0 if wave < old / high else factor if wave > old / low else 1 / ((1 - smooth) / factor + smooth))
    return np.array(out, dtype=np.float32)


@pytest.mark.parametrize(
    ("rope", "found"),
    [
        (llama3(), "llama3"),
        (llama3(factor=8.0), "llama3"),
        (llama3(high_freq_factor=2.5, original_max_position_embeddings=700), "longrope"),  # factors, of no usual kind
    ],
)
def test_factors_of_llama_3(rope, found, tmp_path):
    hf = tiny_of("llama", rope_parameters=rope, max_position_embeddings=131072, head_dim=32)
    factors = {"rope_freqs.weight": converter_factors(rope, 32)}
    got = converted(write(tmp_path / "m.gguf", "llama", hf, {"rope.dimension_count": 32}, factors))
    assert got.config.rope_parameters["rope_type"] == found
    assert_same(got, hf, (*LENGTHS, 1000))


BASE = {"rope_theta": 20000.0}
YARN = {**BASE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
YARN_KEYS = {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 32}


@pytest.mark.parametrize(
    ("rope", "keys"),
    [
        ({**BASE, "rope_type": "linear", "factor": 4.0}, {"scaling.type": "linear", "scaling.factor": 4.0}),
        ({**BASE, "rope_type": "linear", "factor": 4.0}, {"scaling.factor": 4.0}),
        ({**BASE, "rope_type": "linear", "factor": 4.0}, {"scale_linear": 4.0}),
        ({**BASE, "rope_type": "default"}, {"scaling.type": "none", "scaling.factor": 4.0}),
        ({"rope_theta": 10000.0, "rope_type": "default"}, {"freq_base": None}),  # llama.cpp's default
        (YARN, YARN_KEYS),
        (
            {**YARN, "beta_fast": 20.0, "beta_slow": 2.0, "attention_factor": 1.3},
            {**YARN_KEYS, "scaling.yarn_beta_fast": 20.0, "scaling.yarn_beta_slow": 2.0, "scaling.yarn_attn_factor": 1.3},
        ),
        ({**YARN, "mscale": 1.0, "mscale_all_dim": 0.7}, {**YARN_KEYS, "scaling.yarn_log_multiplier": 0.7}),
        ({**YARN, "original_max_position_embeddings": 512}, {**YARN_KEYS, "scaling.original_context_length": None}),
    ],
)  # fmt: skip
def test_scaling(rope, keys, tmp_path):
    hf = tiny_of("llama", rope_parameters=rope)
    path = write(tmp_path / "m.gguf", "llama", hf, {f"rope.{name}": value for name, value in keys.items()})
    assert_same(converted(path), hf)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3moe", "starcoder2", "gemma2", "stablelm"])
def test_scaling_in_other_families(architecture, tmp_path):
    part = {"partial_rotary_factor": 0.25} if architecture == "stablelm" else {}
    hf = tiny_of(architecture, rope_parameters=YARN | part)
    path = write(tmp_path / "m.gguf", architecture, hf, {f"rope.{name}": value for name, value in YARN_KEYS.items()})
    assert_same(converted(path), hf)


@pytest.mark.parametrize("turned", [1.0, 0.75])
def test_longrope_on_both_sides_of_its_length(turned, tmp_path):
    width = int(16 * turned) // 2
    rope = {
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": turned,
        "original_max_position_embeddings": 64, "attention_factor": 1.19,
        "short_factor": [1.0 + 0.125 * i for i in range(width)], "long_factor": [2.0 + 0.5 * i for i in range(width)],
    }  # fmt: skip
    hf = tiny_of("phi3", rope_parameters=rope, original_max_position_embeddings=64, sliding_window=None)
    keys = {
        "rope.scaling.type": "longrope", "rope.scaling.attn_factor": 1.19, "rope.scaling.original_context_length": 64,
        "attention.sliding_window": 0,
    }  # fmt: skip
    tensors = {f"rope_factors_{n}.weight": np.array(rope[f"{n}_factor"], np.float32) for n in ("short", "long")}
    assert_same(converted(write(tmp_path / "m.gguf", "phi3", hf, keys, tensors)), hf, (20, 64, 65, 200))


@pytest.mark.parametrize(("architecture", "part"), [("stablelm", 0.5), ("nemotron", 0.25), ("phi3", 0.5)])
def test_heads_that_turn_in_part(architecture, part, tmp_path):
    hf = tiny_of(
        architecture, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": part}
    )
    assert_same(converted(write(tmp_path / "m.gguf", architecture, hf)), hf)


def test_layers_with_a_window_turn_otherwise(tmp_path):
    rope = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 7000.0},
    }
    kinds = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    hf = tiny_of("gemma3", rope_parameters=rope, layer_types=kinds, num_hidden_layers=5, final_logit_softcapping=3.0)
    keys = {
        "rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "rope.freq_base_swa": 7000.0,
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in kinds],
        "final_logit_softcapping": 3.0,
    }  # fmt: skip
    assert_same(converted(write(tmp_path / "m.gguf", "gemma3", hf, keys)), hf)
    plain = tiny_of("gemma3", num_hidden_layers=6, layer_types=(["sliding_attention"] * 2 + ["full_attention"]) * 2)
    assert_same(converted(write(tmp_path / "p.gguf", "gemma3", plain, {"attention.sliding_window_pattern": 3})), plain)


# What scores are multiplied by


@pytest.mark.parametrize(("scalar", "given"), [(24, None), (100, 0.1)])  # a head is 24 wide
@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_scale_of_attention(architecture, scalar, given, tmp_path):
    hf = tiny_of(architecture, query_pre_attn_scalar=scalar)
    assert_same(converted(write(tmp_path / "m.gguf", architecture, hf, {"attention.scale": given})), hf, (60,))


@pytest.mark.parametrize(("architecture", "blocks"), [("gemma2", 46), ("gemma3", 62)])
def test_the_27b_divides_by_its_width_over_its_heads(architecture, blocks):
    """As Gemma 2 27B says (4608 / 32 = 144, heads 128 wide) and Gemma 3 27B (5376 / 32 = 168)."""
    base = base_of(architecture)
    width, head, right = (4608, 128, 144) if architecture == "gemma2" else (5376, 128, 168)
    size = {"embedding_length": width, "attention.key_length": head, "attention.value_length": head}
    keys = base[2] | size | {"attention.head_count": 32, "block_count": blocks}
    assert outcome(architecture, base, keys)["query_pre_attn_scalar"] == right
    assert outcome(architecture, base, keys | {"block_count": 42})["query_pre_attn_scalar"] == head


@pytest.mark.parametrize("switches", [{"attention_bias": True}, {"mlp_bias": True}])
def test_biases_are_not_passed_over(switches, tmp_path):
    hf = tiny_of("llama", **switches)
    assert any(name.endswith(".bias") for name in tensors_of("llama", hf))
    assert_same(converted(write(tmp_path / "m.gguf", "llama", hf)), hf)


# Every key


def base_of(architecture):
    """The configuration and metadata of a family's file, without a file."""
    hf_config = getattr(transformers, FAMILIES[architecture][0])
    hf = tiny_of(architecture)
    keys = keys_of(architecture, hf)
    return hf_config, hf.config.to_dict(), keys, frozenset(tensors_of(architecture, hf))


def outcome(architecture, base, keys):
    """The configuration that these keys give, or the message that rejects them."""
    kind, settings, _, tensors = base
    whole = {"general.architecture": architecture, **{f"{architecture}.{k}": v for k, v in keys.items()}}
    config = kind.from_dict(settings)
    try:
        for name, value in whole.items():
            check_known(Path("file.gguf"), name, value, architecture)
        restore(config, Metadata(architecture, keys, whole, tensors, {}), Path("file.gguf"))
    except ModelError as error:
        return str(error)
    return config.to_dict()


def all_suffixes():
    """Each key of an architecture that the gguf package or transformers' loader lists, without its prefix."""
    keys = gguf.constants.Keys
    listed = [keys.LLM, keys.Attention, keys.Attention.Indexer, keys.Rope, keys.SSM, keys.KDA, keys.WKV, keys.ShortConv]
    listed += [keys.PosNet, keys.ConvNext, keys.Classifier]
    texts = [v for group in listed for v in vars(group).values() if isinstance(v, str) and v.startswith("{arch}.")]
    known = {
        k for name in GGUF_CONFIG_MAPPING if name not in ("general", "tokenizer") for k in GGUF_CONFIG_MAPPING[name]
    }
    return sorted({text.removeprefix("{arch}.") for text in texts} | known)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_key_is_used_or_named(architecture):
    """A value that is not the file's own changes the configuration, or is rejected by the key's name; keys that the
    table calls unused are the only ones that do neither."""
    base = base_of(architecture)
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
    plain, turned = outcome(architecture, base, base[2]), outcome(architecture, base, base[2] | yarn)
    assert isinstance(plain, dict), plain

    def spoke(suffix, value, more, was):
        now = outcome(architecture, base, base[2] | more | {suffix: value})
        # a head's keys and values have one width: a width that differs is named by either
        return now != was if isinstance(now, dict) else suffix in now or suffix.replace("key", "value") in now

    silent = []
    for suffix in all_suffixes():
        if key_of(f"{architecture}.{suffix}", architecture) == UNUSED:
            continue
        contexts = [({}, plain)] + [(yarn, turned)] * suffix.startswith("rope.")
        if not any(spoke(suffix, value, *context) for value in (7, 0.37) for context in contexts):
            silent.append(suffix)
    if architecture == "phi3":  # has longrope only, tried elsewhere
        silent = [s for s in silent if "yarn" not in s and s != "rope.scaling.original_context_length"]
    assert silent == []


def test_every_key_without_prefix_has_a_row():
    keys = gguf.constants.Keys
    for name in [v for v in vars(keys.Tokenizer).values() if isinstance(v, str) and v.startswith("tokenizer.")]:
        assert key_of(name, "llama") or name == keys.Tokenizer.RWKV, name
    for name in [v for group in (keys.General, keys.Split) for v in vars(group).values() if isinstance(v, str)]:
        if name.startswith(("general.", "split.")):
            assert key_of(name, "llama"), name


def test_values_that_change_nothing_are_taken():
    for architecture in FAMILIES:
        base = base_of(architecture)
        plain = outcome(architecture, base, base[2])
        for suffix in all_suffixes():
            key = key_of(f"{architecture}.{suffix}", architecture)
            for value in key.idle if key and suffix not in base[2] else ():
                assert outcome(architecture, base, base[2] | {suffix: value}) == plain or key.fields, (suffix, value)


# What is rejected, in one line


@pytest.fixture(scope="module")
def llama():
    return tiny_of("llama")


@pytest.mark.parametrize(
    ("keys", "whole", "words"),
    [
        ({"logit_scale": 0.5}, {}, r"llama\.logit_scale = 0\.5"),
        ({"attention.scale": 0.5}, {}, r"llama\.attention\.scale = 0\.5.*expected 0\.25"),
        ({"attention.sliding_window": 12}, {}, r"llama\.attention\.sliding_window = 12"),
        ({"attention.clamp_kqv": 8.0}, {}, r"llama\.attention\.clamp_kqv"),
        ({"expert_count": 8}, {}, r"llama\.expert_count = 8"),
        ({"rope.dimension_count": 8}, {}, r"rope\.dimension_count 8: expected 16"),
        ({"rope.scaling.type": "su"}, {}, r"rope\.scaling\.type 'su': expected none, linear, yarn or longrope"),
        ({"attention.head_count_kv": [2, 1, 2]}, {}, r"head_count_kv.*layers that differ"),
        ({"never.heard_of": 1}, {}, r"llama\.never\.heard_of = 1: rhat does not know"),
        ({}, {"split.count": 3}, r"split\.count = 3"),
        ({}, {"general.type": "adapter"}, r"general\.type = adapter"),
        ({}, {"tokenizer.ggml.pre": "never-heard-of"}, r"tokenizer\.ggml\.pre = 'never-heard-of'"),
        ({"rope.scaling.type": "longrope"}, {}, r"rope_factors_short and rope_factors_long are missing"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_honoured_is_named(llama, keys, whole, words, tmp_path):
    path = write(tmp_path / "m.gguf", "llama", llama, keys, whole=whole)
    with pytest.raises(ModelError, match=words) as caught:
        converted(path)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_a_key_of_nobody_is_named_in_a_warning(llama, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        converted(write(tmp_path / "m.gguf", "llama", llama, whole={"someone.else": 1, "general.name": "x"}))
    assert [r.message for r in caplog.records if r.name.startswith("rhat")] == [
        f"{tmp_path / 'm.gguf'}: someone.else is not used; rhat does not know this key"
    ]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"blk.0.attn_q_norm.weight": np.ones(16, np.float32)}, r"1 tensors have no place.*blk\.0\.attn_q_norm\.weight"),
        ({"blk.1.ffn_up.weight": None}, r"1 parameters .* are not in the file.*layers\.1\.mlp\.up_proj\.weight"),
        ({"blk.1.ffn_up.weight": np.ones((64, 64), np.float32)}, r"of another shape: .*layers\.1\.mlp\.up_proj\.weight"),
        ({"rope_factors_long.weight": np.ones(8, np.float32)}, r"rope_factors_long: expected both, got one"),
        ({"rope_freqs.weight": np.full(5, 3.0, np.float32)}, r"rope factors: got 5 and 5, expected 8"),
    ],
)  # fmt: skip
def test_no_tensor_is_passed_over(llama, tensors, words, tmp_path):
    with pytest.raises(ModelError, match=words) as caught:
        converted(write(tmp_path / "m.gguf", "llama", llama, tensors=tensors))
    assert "\n" not in str(caught.value)


def test_other_architectures_are_named(tmp_path, llama):
    path = write_gguf(tmp_path / "m.gguf", "grok", keys_of("llama", llama), {})
    with pytest.raises(ModelError, match=r"general\.architecture 'grok': rhat reads llama, qwen2"):
        converted(path)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut_is_said(llama, part, tmp_path):
    path = write(tmp_path / "m.gguf", "llama", llama)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ModelError, match=r"m\.gguf: (not a GGUF file that|cannot be converted)") as caught:
        converted(path)
    assert "\n" not in str(caught.value)


# Tokens


def tokenizer_of(llama, path, whole):
    write(path, "llama", llama, whole=whole)
    convert(path, path.with_suffix(""), "0" * 64)
    return transformers.AutoTokenizer.from_pretrained(path.with_suffix(""))


TEXT = "In 2024 they've 12345 ways,\n\n 'tis  said"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=False)),
        (
            "smollm",  # as in the model's own tokenizer.json
            pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        ),
    ],
)  # fmt: skip
def test_text_is_split_as_the_file_says(llama, name, split, tmp_path):
    got = tokenizer_of(llama, tmp_path / "m.gguf", {"tokenizer.ggml.pre": name})
    truth = tiny_tokenizer()
    truth.backend_tokenizer.pre_tokenizer = split
    assert got.backend_tokenizer.pre_tokenizer.pre_tokenize_str(TEXT) == split.pre_tokenize_str(TEXT)
    assert got(TEXT)["input_ids"] == truth(TEXT)["input_ids"]


def test_a_tokenizer_is_opened_as_it_was_saved(tmp_path):
    """GPT2Tokenizer, which transformers names for this family, splits in its own way whatever was saved."""
    path = write(tmp_path / "m.gguf", "gpt2", tiny_of("gpt2"), whole={"tokenizer.ggml.pre": "smollm"})
    convert(path, tmp_path / "m", "0" * 64)
    split = transformers.AutoTokenizer.from_pretrained(tmp_path / "m").backend_tokenizer.pre_tokenizer
    assert [piece for piece, _ in split.pre_tokenize_str("at 2024")] == ["at", "Ġ", "2", "0", "2", "4"]


@pytest.mark.parametrize("add", [True, False])
def test_a_first_token_is_added_if_the_file_says_so(llama, add, tmp_path):
    got = tokenizer_of(
        llama, tmp_path / "m.gguf", {"tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.add_bos_token": add}
    )
    assert (got("a")["input_ids"][0] == 2) is add


def test_tokens_that_end_a_turn_end_an_answer(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "m.gguf", "llama", llama, whole={"tokenizer.ggml.eot_token_id": 3})
    model = rhat.load(path, dtype="float32")
    assert model.eos_ids == {1, 3}
    # the second time from the cache; what an earlier version left there is made again
    (folder,) = (tmp_path / "cache" / "models").iterdir()
    assert json.loads((folder / MARKER).read_text())["converter"] == CONVERTER
    (folder / MARKER).write_text(json.dumps({"source": "m.gguf", "sha256": model.identity}))
    (folder / "config.json").write_text("{}")
    assert not is_converted(folder)
    assert rhat.load(path, dtype="float32").eos_ids == {1, 3}
    assert is_converted(folder)


@pytest.mark.parametrize("prefix", [None, True, False])
def test_a_space_before_the_text_is_as_the_file_says(llama, prefix, tmp_path):
    """A sentencepiece vocabulary: with the space, "ab" is the piece that begins a word; without, it is the other."""
    pieces = ["<unk>", "<s>", "</s>", *[f"<0x{i:02X}>" for i in range(256)], "\u2581", "a", "b", "ab", "\u2581ab"]
    pieces += [f"unused {i}" for i in range(VOCAB - len(pieces))]
    whole = {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": pieces, "tokenizer.ggml.merges": None,
        "tokenizer.ggml.scores": [-float(i) for i in range(VOCAB)],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (VOCAB - 259)],
        "tokenizer.ggml.add_space_prefix": prefix, "tokenizer.ggml.add_bos_token": False,
    }  # fmt: skip
    got = tokenizer_of(llama, tmp_path / "m.gguf", whole)
    assert got.convert_ids_to_tokens(got("ab")["input_ids"]) == (["ab"] if prefix is False else ["\u2581ab"])
    assert got.decode(got("ab ab")["input_ids"]) == "ab ab"


def test_no_row_says_nothing():
    assert all(key.part or key.fields or key.idle for key in [*TOKENIZER_KEYS.values(), *GENERAL_KEYS.values()])
