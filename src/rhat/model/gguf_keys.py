"""What is done with each metadata key of a GGUF file.

Transformers reads some of the keys that llama.cpp's converter writes and passes over the others. Here each key that an
architecture may carry has a row. A key of the architecture's own namespace that has none is rejected by its name: it may
change the computation. Whatever transformers took, the field is set again here, so that the two cannot differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """One row: the configuration's field that takes the value (the first that the configuration has), the values that
    change nothing where it has none, or the part of rhat that reads it."""

    fields: tuple[str, ...] = ()
    idle: tuple[Any, ...] = ()  # values that change nothing; any other is rejected unless a field takes it
    part: str = ""  # rope, heads, window, scale or stop: read there; unused: changes nothing that rhat computes


UNUSED = Key(part="unused")
ROPE = Key(part="rope")

# Names as in the file, without the architecture's prefix.
MODEL_KEYS: dict[str, Key] = {
    "vocab_size": Key(("vocab_size",)),
    "context_length": Key(("max_position_embeddings",), part="rope"),
    "block_count": Key(("num_hidden_layers",)),
    "embedding_length": Key(("hidden_size",)),
    "feed_forward_length": Key(("ffn_hidden_size", "n_inner", "intermediate_size"), part="heads"),
    "attention.head_count": Key(("num_attention_heads",)),
    "attention.head_count_kv": Key(("num_kv_heads", "num_key_value_heads"), part="heads"),
    "attention.key_length": Key(part="heads"),
    "attention.value_length": Key(part="heads"),
    "attention.layer_norm_rms_epsilon": Key(("rms_norm_eps",)),
    "attention.layer_norm_epsilon": Key(("layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon")),
    "attention.sliding_window": Key(part="window"),
    "attention.sliding_window_pattern": Key(part="window"),
    "attention.scale": Key(part="scale"),
    "attention.causal": Key(idle=(True,)),
    "attention.clamp_kqv": Key(idle=(0.0,)),
    "attention.max_alibi_bias": Key(idle=(0.0,)),
    "attention.output_scale": Key(idle=(0.0, 1.0)),
    "attention.temperature_length": Key(idle=(0,)),
    "attention.temperature_scale": Key(idle=(0.0,)),
    "attention.shared_kv_layers": Key(idle=(0,)),
    "attn_logit_softcapping": Key(("attn_logit_softcapping",), idle=(0.0,)),
    "final_logit_softcapping": Key(("final_logit_softcapping",), idle=(0.0,)),
    "router_logit_softcapping": Key(idle=(0.0,)),
    "rope.dimension_count": ROPE,
    "rope.dimension_count_swa": ROPE,
    "rope.freq_base": ROPE,
    "rope.freq_base_swa": ROPE,
    "rope.scale_linear": ROPE,  # the older name of scaling.factor
    "rope.scaling.type": ROPE,
    "rope.scaling.factor": ROPE,
    "rope.scaling.attn_factor": ROPE,
    "rope.scaling.original_context_length": ROPE,
    "rope.scaling.yarn_log_multiplier": ROPE,
    "rope.scaling.yarn_ext_factor": ROPE,
    "rope.scaling.yarn_attn_factor": ROPE,
    "rope.scaling.yarn_beta_fast": ROPE,
    "rope.scaling.yarn_beta_slow": ROPE,
    "rope.scaling.alpha": Key(idle=(0.0,)),
    "rope.scaling.finetuned": UNUSED,  # how the model was made, not how it is run
    "expert_count": Key(("num_experts",), idle=(0,)),
    "expert_used_count": Key(("num_experts_per_tok",), idle=(0,)),
    "expert_feed_forward_length": Key(("moe_intermediate_size",), idle=(0,)),
    "expert_shared_feed_forward_length": Key(("shared_expert_intermediate_size",), idle=(0,)),
    "expert_shared_count": Key(idle=(0,)),
    "expert_group_count": Key(idle=(0, 1)),
    "expert_group_used_count": Key(idle=(0, 1)),
    "expert_weights_norm": Key(("norm_topk_prob",), idle=(False,)),
    "expert_weights_scale": Key(idle=(0.0, 1.0)),
    "expert_gating_func": Key(idle=(0, 1)),  # unset, softmax
    "leading_dense_block_count": Key(idle=(0,)),
    "moe_every_n_layers": Key(idle=(0, 1)),
    "interleave_moe_layer_step": Key(idle=(0, 1)),
    "nextn_predict_layers": Key(idle=(0,)),
    "n_deepstack_layers": Key(idle=(0,)),
    "embedding_length_per_layer_input": Key(idle=(0,)),
    "logit_scale": Key(idle=(0.0, 1.0)),
    "embedding_scale": Key(idle=(0.0, 1.0)),
    "residual_scale": Key(idle=(0.0, 1.0)),
    "swin_norm": Key(idle=(False,)),
    "pooling_type": Key(idle=(0,)),
    "use_parallel_residual": Key(("use_parallel_residual", "parallel_attn"), idle=(False,)),
    "tensor_data_layout": Key(),  # any but the architecture's own is rejected
}

# What differs in one architecture.
OWN_KEYS: dict[str, dict[str, Key]] = {
    "llama": {"tensor_data_layout": Key(idle=("Meta AI original pth",))},
    "falcon": {"tensor_data_layout": Key(idle=("jploski",))},
    "bloom": {"context_length": UNUSED, "attention.max_alibi_bias": Key(idle=(0.0, 8.0))},
}

# Architectures whose files were read back in the tests with the logits of the model that was written.
ARCHITECTURES = (
    "llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3",
    "stablelm", "starcoder2", "gpt2", "bloom", "falcon", "nemotron",
)  # fmt: skip

# Tensors that hold configuration, not weights: the factors by which each frequency of the rope is divided.
ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")

# Biases that are in a file exactly if the configuration's switch is on: switch → the ends of their names.
BIAS_SWITCHES = {
    "attention_bias": (".attn_q.bias", ".attn_output.bias"),
    "qkv_bias": (".attn_q.bias",),
    "use_qkv_bias": (".attn_q.bias",),
    "mlp_bias": (".ffn_up.bias", ".ffn_down.bias"),
    "use_bias": (".attn_q.bias", ".attn_output.bias", ".ffn_up.bias", ".ffn_down.bias"),
}

TOKENIZER_KEYS: dict[str, Key] = {
    "ggml.model": Key(part="transformers"),
    "ggml.pre": Key(part="split"),
    "ggml.tokens": Key(part="transformers"),
    "ggml.token_type": Key(part="transformers"),
    "ggml.scores": Key(part="transformers"),
    "ggml.merges": Key(part="transformers"),
    "ggml.precompiled_charsmap": UNUSED,  # of unigram vocabularies, which are rejected
    "ggml.bos_token_id": Key(part="transformers"),
    "ggml.eos_token_id": Key(part="stop"),
    "ggml.eot_token_id": Key(part="stop"),
    "ggml.eom_token_id": Key(part="stop"),
    "ggml.unknown_token_id": Key(part="transformers"),
    "ggml.padding_token_id": Key(part="transformers"),
    "ggml.add_bos_token": Key(part="transformers"),
    "ggml.add_eos_token": Key(part="transformers"),
    "ggml.add_space_prefix": Key(part="split"),
    "ggml.remove_extra_whitespaces": Key(idle=(False,)),
    "chat_template": Key(part="transformers"),
    # Tokens that only other uses of a model need: masks, classes, filling in the middle of code.
    "ggml.token_type_count": UNUSED,
    "ggml.seperator_token_id": UNUSED,
    "ggml.mask_token_id": UNUSED,
    "ggml.cls_token_id": UNUSED,
    "ggml.add_sep_token": Key(idle=(False,)),
    "ggml.prefix_token_id": UNUSED,
    "ggml.suffix_token_id": UNUSED,
    "ggml.middle_token_id": UNUSED,
    **{f"ggml.fim_{name}_token_id": UNUSED for name in ("pre", "suf", "mid", "pad", "rep", "sep")},
    "huggingface.json": UNUSED,  # a copy of what the keys above say
    "chat_templates": UNUSED,  # names of templates for other purposes; the default one is chat_template
}

# Keys without the architecture's prefix: provenance, advice for sampling, the split into files.
GENERAL_KEYS: dict[str, Key] = {
    "general.type": Key(idle=("model",)),
    "general.architecture": Key(part="transformers"),
    "general.alignment": Key(part="transformers"),
    "split.no": Key(idle=(0,)),
    "split.count": Key(idle=(0, 1)),
    "split.tensors.count": UNUSED,
    "quantize.imatrix": UNUSED,
}
UNUSED_PREFIXES = ("GGUF.", "general.", "quantize.imatrix.", "imatrix.", "tokenizer.chat_template.")

# tokenizer.ggml.pre → the expressions by which llama.cpp splits text before its merges, applied one after the other. An
# empty tuple is GPT-2's own split, which transformers uses where it does not know a name; the names that transformers
# knows are not repeated here.
GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "gigachat", "mellum"), ()),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"), (r"\p{N}",)),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", GPT2_SPLIT, r"[0-9][0-9][0-9]"),
    "bloom": (r" ?[^(\s|.,!?…。，、।۔،)]+",),
}


def key_of(name: str, architecture: str) -> Key | None:
    """The row of a metadata key by its full name; None if there is none."""
    if name in GENERAL_KEYS:
        return GENERAL_KEYS[name]
    if name.startswith(UNUSED_PREFIXES):
        return UNUSED
    if name.startswith("tokenizer."):
        return TOKENIZER_KEYS.get(name.removeprefix("tokenizer."))
    if name.startswith(f"{architecture}."):
        suffix = name.removeprefix(f"{architecture}.")
        return OWN_KEYS.get(architecture, {}).get(suffix) or MODEL_KEYS.get(suffix)
    return None


def is_bias_of(name: str, ends: tuple[str, ...]) -> bool:
    """Whether a tensor's name is a block's bias with one of these ends."""
    return re.match(r"blk\.\d+\.", name) is not None and name.endswith(ends)
