"""GGUF files as llama.cpp's converter writes them, from tiny transformers models: which names, which keys, and what the
converter does to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers

from tiny import MERGES, TEMPLATE, VOCAB, tiny_tokenizer

USUAL = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "tie_word_embeddings": False,
}
# architecture of the file → class of the configuration, and what it takes
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 24}),
    "qwen2moe": (
        "Qwen2MoeConfig",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48},
    ),
    "qwen3moe": (
        "Qwen3MoeConfig",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 24, "norm_topk_prob": True},
    ),
    "gemma2": (
        "Gemma2Config",
        {"head_dim": 24, "sliding_window": 12, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 7.0,
         "final_logit_softcapping": 5.0, "tie_word_embeddings": True},
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {"head_dim": 24, "sliding_window": 12, "query_pre_attn_scalar": 24, "tie_word_embeddings": True,
         "num_hidden_layers": 7},
    ),
    "phi3": ("Phi3Config", {"sliding_window": 12}),
    "stablelm": ("StableLmConfig", {"use_qkv_bias": True}),
    "starcoder2": ("Starcoder2Config", {"sliding_window": None}),
    "gpt2": ("GPT2Config", {"n_inner": 96}),
    "bloom": ("BloomConfig", {"tie_word_embeddings": True}),
    "falcon": (
        "FalconConfig",
        {"multi_query": True, "parallel_attn": True, "ffn_hidden_size": 96, "tie_word_embeddings": True},
    ),
    "nemotron": ("NemotronConfig", {"head_dim": 16}),
}  # fmt: skip


def tiny_of(architecture: str, **settings: Any) -> Any:
    """A tiny model of the family, random, with weights that bfloat16 holds exactly."""
    name, own = FAMILIES[architecture]
    config = getattr(transformers, name)(**{**USUAL, **own, **settings})
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config, experts_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            noise = torch.randn(parameter.shape)
            new = noise * 1.5 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else parameter + 0.2 * noise
            parameter.copy_(new.bfloat16().float())
    return hf


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """The halves of each head's rows, interleaved: llama.cpp's order for Llama's rope."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def _as_converted(architecture: str, name: str, weight: np.ndarray, config: Any) -> np.ndarray:
    heads = config.num_attention_heads
    if architecture == "llama" and "q_proj" in name:
        return permute(weight, heads)
    if architecture == "llama" and "k_proj" in name:
        return permute(weight, config.num_key_value_heads)
    if architecture in ("gemma2", "gemma3", "nemotron") and name.endswith("norm.weight"):
        return weight + 1
    if architecture == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return weight.T
    if architecture == "bloom" and "query_key_value" in name:
        parts = weight.reshape(heads, 3, -1, *weight.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *weight.shape[1:]) for i in range(3)])
    if architecture == "qwen2moe" and name.endswith("shared_expert_gate.weight"):
        return weight.reshape(-1)
    return weight


def tensors_of(architecture: str, hf: Any) -> dict[str, np.ndarray]:
    """The model's weights under the file's names."""
    arch = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == architecture)
    names = gguf.get_tensor_name_map(arch, hf.config.num_hidden_layers)
    found: dict[str, np.ndarray] = {}
    for name, parameter in hf.state_dict().items():
        weight = parameter.float().numpy()
        if name == "lm_head.weight" and hf.config.tie_word_embeddings:
            continue
        if name.endswith("experts.gate_up_proj"):
            block = name.split(".")[2]
            gate, up = np.split(weight, 2, axis=1)
            found |= {f"blk.{block}.ffn_gate_exps.weight": gate, f"blk.{block}.ffn_up_exps.weight": up}
        elif name.endswith("experts.down_proj"):
            found[f"blk.{name.split('.')[2]}.ffn_down_exps.weight"] = weight
        else:
            ends = (".weight", ".bias")
            known = names.get_name(name, ends) or names.get_name(name.removeprefix("transformer."), ends)
            assert known is not None, name
            found[known] = _as_converted(architecture, name, weight, hf.config)
    return {name: np.ascontiguousarray(weight, dtype=np.float32) for name, weight in found.items()}


def keys_of(architecture: str, hf: Any) -> dict[str, Any]:
    """The metadata keys that the converter writes for the family, without the architecture's prefix."""
    c = hf.config
    keys: dict[str, Any] = {
        "block_count": c.num_hidden_layers,
        "context_length": getattr(c, "max_position_embeddings", 512),
        "embedding_length": c.hidden_size,
        "feed_forward_length": 4 * c.hidden_size if architecture == "bloom" else 96,
        "attention.head_count": c.num_attention_heads,
        "vocab_size": c.vocab_size,
    }
    for field in ("rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon"):
        if hasattr(c, field):
            keys[f"attention.layer_norm_{'rms_' if field == 'rms_norm_eps' else ''}epsilon"] = getattr(c, field)
    if architecture == "falcon":
        keys |= {"attention.head_count_kv": 1, "tensor_data_layout": "jploski"}
    elif architecture not in ("gpt2", "bloom"):
        keys["attention.head_count_kv"] = c.num_key_value_heads
    if (head := getattr(c, "head_dim", None)) and architecture != "falcon":
        keys |= {"attention.key_length": head, "attention.value_length": head}
    rope = getattr(c, "rope_parameters", None)
    if rope:
        keys["rope.freq_base"] = rope.get("full_attention", rope)["rope_theta"]
        if "partial_rotary_factor" in rope:
            keys["rope.dimension_count"] = int(
                rope["partial_rotary_factor"] * (head or c.hidden_size // c.num_attention_heads)
            )
    if "moe" in architecture:
        keys |= {"expert_count": c.num_experts, "expert_used_count": c.num_experts_per_tok}
        keys["expert_feed_forward_length"] = c.moe_intermediate_size
    if architecture == "qwen2moe":
        keys["expert_shared_feed_forward_length"] = c.shared_expert_intermediate_size
    if architecture == "stablelm":
        keys["use_parallel_residual"] = c.use_parallel_residual
    if architecture in ("gemma2", "gemma3", "phi3"):
        keys["attention.sliding_window"] = c.sliding_window
    if architecture == "gemma2":
        keys["attn_logit_softcapping"] = c.attn_logit_softcapping
        keys["final_logit_softcapping"] = c.final_logit_softcapping
    return keys


def write_gguf(
    path: Path,
    architecture: str,
    keys: dict[str, Any],
    tensors: dict[str, np.ndarray],
    whole: dict[str, Any] | None = None,
) -> Path:
    """A GGUF file with these metadata keys (None: left out), tensors, and the tiny tokenizer; `whole` are keys by their
    full names."""
    out = gguf.GGUFWriter(str(path), architecture)
    vocab = sorted(tiny_tokenizer().get_vocab().items(), key=lambda pair: pair[1])
    usual = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": [token for token, _ in vocab],
        "tokenizer.ggml.token_type": [3 if i < 5 else 1 for i in range(VOCAB)],
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in MERGES],
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    }
    for name, value in {**usual, **{f"{architecture}.{k}": v for k, v in keys.items()}, **(whole or {})}.items():
        if value is None:
            continue
        add = {bool: out.add_bool, int: out.add_uint32, float: out.add_float32, str: out.add_string}
        add.get(type(value), out.add_array)(name, value)
    for name, weight in tensors.items():
        out.add_tensor(name, weight)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
