"""Tiny random chat models of many families, built offline from transformers' configurations.

`tiny_chat_model("gemma2")` is a ChatModel like any other, a few thousand parameters large: every path of rhat runs on it
in milliseconds. A new family is one row of FAMILIES.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import rhat
from rhat.model import ChatModel

_softmax = torch.nn.functional.softmax


def _in_its_own_precision(input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """Softmax of float64 stays float64: transformers' eager attention takes it in float32, where float64's lowest number
    is −∞ (so that padding gives NaN) and where sums of unequal length agree to seven digits only."""
    return _softmax(input, dim, _stacklevel, None if input.dtype == torch.float64 else dtype)


torch.nn.functional.softmax = _in_its_own_precision

SPECIAL = ("<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
MERGES = (
    ("h", "e"),
    ("Ġ", "t"),
    ("Ġ", "a"),
    ("i", "n"),
    ("r", "e"),
    ("Ġt", "he"),
    ("o", "u"),
    ("e", "r"),
    ("Ġ", "s"),
    ("o", "n"),
    ("Ġ", "b"),
    ("i", "s"),
    ("Ġ", "w"),
    ("a", "t"),
    ("Ġ", "o"),
    ("in", "g"),
    ("n", "d"),
    ("e", "s"),
    ("o", "r"),
    ("l", "l"),
)
# A system text of its own (so that all prompts share a prefix), and four template tokens after the instruction.
TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}<|system|>\nBe brief.<|end|>\n{% endif %}"
    "{%- for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEMPLATE_LENGTH = 4  # <|end|> \n <|assistant|> \n


@functools.cache
def _tokenizer_json() -> str:
    vocab = {token: index for index, token in enumerate((*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    for left, right in MERGES:
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def tiny_tokenizer(chat_template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of some 280 tokens, with a chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()),
        pad_token="<pad>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIAL[2:]),
        padding_side="left",
    )
    tokenizer.chat_template = chat_template
    return tokenizer


VOCAB = len(SPECIAL) + 256 + len(MERGES)
_USUAL = {"hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4, "max_position_embeddings": 512}
_GROUPED = {**_USUAL, "num_key_value_heads": 2}


@dataclass(frozen=True)
class Family:
    """One architecture: its configuration class, what to set on it, and what is special about it.

    text       the attribute of the configuration that holds the text part of a multimodal model
    layers     what the configuration calls the number of blocks
    per_layer  settings that are one value a layer, repeated as needed
    around     settings of the whole of which the text part is one
    mask       the form in which its decoder takes the fast path's mask; None: run by the plain path
    pads       whether it takes padding on the left
    sum        how the parts make up a block
    lacks      kind of site → blocks of three that have no such part
    third      whether its blocks add a third part to the stream
    float32    what the model computes in float32 whatever its dtype, so that 1e-9 is out of reach
    refused    what the error says, for an architecture that rhat refuses
    seed       of the weights: one with which the model's greedy answers vary
    """

    config: str
    settings: dict[str, Any]
    text: str = ""
    layers: str = "num_hidden_layers"
    per_layer: dict[str, Any] = field(default_factory=dict)
    around: dict[str, Any] = field(default_factory=dict)
    mask: str | None = "4d"
    pads: bool = True
    sum: str = "pre-norm"
    lacks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    third: bool = False
    float32: str = ""
    refused: str = ""
    seed: int = 0

    @property
    def tolerance(self) -> float:
        """The relative error that two float64 ways of computing the same may show."""
        return 1e-6 if self.float32 else 1e-9


_EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
_HYBRID = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2}

FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaConfig", {**_GROUPED, "head_dim": 16}),  # head_dim is not hidden_size / heads
    "mistral": Family("MistralConfig", {**_GROUPED, "sliding_window": 12}),
    "mixtral": Family("MixtralConfig", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": Family("Qwen2Config", {**_GROUPED, "tie_word_embeddings": True}),
    "qwen3": Family("Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "qwen3-moe": Family(
        "Qwen3MoeConfig", {**_GROUPED, **_EXPERTS, "head_dim": 16, "num_experts": 4, "mlp_only_layers": [1]}
    ),
    "gemma2": Family("Gemma2Config", {**_GROUPED, "head_dim": 16, "sliding_window": 12, "query_pre_attn_scalar": 16}),
    "gemma3": Family(
        "Gemma3TextConfig",
        {**_GROUPED, "head_dim": 16, "sliding_window": 12, "query_pre_attn_scalar": 16},
        per_layer={"layer_types": ("sliding_attention", "full_attention")},
    ),
    "gemma3-multimodal": Family(
        "Gemma3Config",
        {**_GROUPED, "head_dim": 16, "sliding_window": 12, "query_pre_attn_scalar": 16},
        per_layer={"layer_types": ("sliding_attention", "full_attention")},
        text="text_config",
        around={
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
            "mm_tokens_per_image": 4,
        },
    ),
    "gemma": Family("GemmaConfig", {**_GROUPED, "head_dim": 16}),
    "phi": Family("PhiConfig", {**_GROUPED, "hidden_size": 64}),  # one dropout module serves attention and MLP
    "phi3": Family("Phi3Config", {**_GROUPED}),
    "gpt2": Family("GPT2Config", {"n_embd": 48, "n_inner": 64, "n_head": 4, "n_positions": 512}, layers="n_layer"),
    "gpt-neox": Family("GPTNeoXConfig", {**_USUAL}),
    "gpt-neox-serial": Family("GPTNeoXConfig", {**_USUAL, "use_parallel_residual": False}),
    "gpt-j": Family(
        "GPTJConfig",
        {"n_embd": 48, "n_inner": 64, "n_head": 4, "n_positions": 512, "rotary_dim": 8},
        layers="n_layer",
        float32="attention",
    ),
    "opt": Family(
        "OPTConfig",
        {
            "hidden_size": 48,
            "ffn_dim": 64,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "word_embed_proj_dim": 48,
        },
    ),
    "opt-post-norm": Family(
        "OPTConfig",
        {
            "hidden_size": 48,
            "ffn_dim": 64,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "word_embed_proj_dim": 32,
            "do_layer_norm_before": False,
            "tie_word_embeddings": False,
        },
        sum="post-norm",
        seed=3,
    ),
    "bloom": Family(
        "BloomConfig", {"hidden_size": 48, "n_head": 4, "tie_word_embeddings": False}, layers="n_layer", mask="2d"
    ),
    "falcon": Family("FalconConfig", {**_USUAL, "multi_query": True, "parallel_attn": True}),
    "falcon-new": Family("FalconConfig", {**_USUAL, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-alibi": Family(
        "FalconConfig", {**_USUAL, "alibi": True, "parallel_attn": False, "multi_query": False}, mask="2d"
    ),
    "stablelm": Family("StableLmConfig", {**_GROUPED, "hidden_size": 64}),
    "olmo2": Family("Olmo2Config", {**_GROUPED}),
    "olmo3": Family(
        "Olmo3Config",
        {**_GROUPED, "sliding_window": 12},
        per_layer={"layer_types": ("sliding_attention", "full_attention")},
    ),
    "glm4": Family("Glm4Config", {**_GROUPED, "head_dim": 16}),
    "exaone4": Family("Exaone4Config", {**_GROUPED, "sliding_window": 12, "sliding_window_pattern": 2}),
    "granite": Family(
        "GraniteConfig",
        {
            **_GROUPED,
            "residual_multiplier": 0.5,
            "embedding_multiplier": 3.0,
            "logits_scaling": 2.0,
            "attention_multiplier": 0.2,
        },
    ),
    "cohere": Family("CohereConfig", {**_GROUPED}),
    "cohere2": Family("Cohere2Config", {**_GROUPED, "sliding_window": 12, "sliding_window_pattern": 2}),
    "llama4": Family(
        "Llama4TextConfig",
        {**_GROUPED, "head_dim": 16, "num_local_experts": 4, "intermediate_size_mlp": 64, "attention_chunk_size": 12},
        float32="router",
    ),
    "minicpm3": Family(
        "MiniCPM3Config",
        {
            **_USUAL,
            "num_key_value_heads": 4,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 20,
        },
        seed=2,
    ),
    "deepseek-v3": Family(
        "DeepseekV3Config",
        {
            **_USUAL,
            **_EXPERTS,
            "num_key_value_heads": 4,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 20,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
        float32="router",
    ),
    "gpt-oss": Family(
        "GptOssConfig",
        {
            **_GROUPED,
            "head_dim": 16,
            "sliding_window": 12,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        per_layer={"layer_types": ("sliding_attention", "full_attention")},
    ),
    "smollm3": Family("SmolLM3Config", {**_GROUPED}, per_layer={"no_rope_layers": (1, 0)}),
    "qwen3-next": Family(
        "Qwen3NextConfig",
        {
            **_GROUPED,
            **_EXPERTS,
            "head_dim": 16,
            "num_experts": 4,
            "shared_expert_intermediate_size": 32,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        per_layer={"layer_types": ("linear_attention", "full_attention")},
        mask=None,
        lacks={"attn_proj": (0, 2), "head_out": (0, 2)},
        float32="linear attention",
    ),
    "recurrent-gemma": Family(
        "RecurrentGemmaConfig",
        {**_GROUPED, "attention_window_size": 12, "block_types": ["recurrent", "attention"]},
        mask=None,
        pads=False,
        lacks={"attn_proj": (0, 1, 2), "head_out": (0, 1, 2)},
        float32="recurrence",
    ),
    "falcon-h1": Family(
        "FalconH1Config",
        {**_GROUPED, **_HYBRID, "mamba_n_heads": 4, "mamba_d_ssm": 64, "mamba_d_head": 16},
        mask=None,
        third=True,
    ),
    "doge": Family(
        "DogeConfig",
        {**_GROUPED, "keep_window_size": 512},
        sum="unaccounted",
        lacks={"attn_out": (0, 1, 2), "mlp_out": (0, 1, 2), "other_out": (0, 1, 2)},
    ),
    "jamba": Family(
        "JambaConfig",
        {**_GROUPED, **_HYBRID, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
        mask=None,
        lacks={"attn_proj": (0, 2), "head_out": (0, 2)},
        float32="state space",
    ),
    "mamba": Family("MambaConfig", {"hidden_size": 48, "state_size": 8}, refused="no attention heads"),
    "mamba2": Family(
        "Mamba2Config",
        {"hidden_size": 48, "state_size": 8, "num_heads": 4, "head_dim": 24, "n_groups": 1},
        refused="no attention heads",
    ),
}


def tiny_config(family: str, n_layers: int = 3) -> Any:
    """The family's configuration, tiny."""
    row = FAMILIES[family]
    settings = {
        "vocab_size": VOCAB,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        row.layers: n_layers,
        **row.settings,
        **{name: [values[i % len(values)] for i in range(n_layers)] for name, values in row.per_layer.items()},
    }
    if row.text:
        settings = {row.text: settings, **row.around}
    return getattr(transformers, row.config)(**settings)


def tiny_hf(
    family: str = "llama", n_layers: int = 3, dtype: torch.dtype = torch.float64, seed: int | None = None
) -> Any:
    """A transformers model of that family with random weights, large enough that an edit moves the logits."""
    config = tiny_config(family, n_layers)
    config._name_or_path = f"tiny-{family}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(FAMILIES[family].seed if seed is None else seed)
        hf = transformers.AutoModelForCausalLM.from_config(config, experts_implementation="eager")
        hf = hf.to(dtype).eval()
        tied = getattr(config.get_text_config(), "tie_word_embeddings", False)
        with torch.no_grad():
            for name, parameter in hf.named_parameters():
                noise = torch.randn(parameter.shape, dtype=torch.float64).to(dtype)
                if parameter.ndim == 1:  # norms and biases: about what they were
                    parameter.add_(noise, alpha=0.2)
                elif tied and (
                    "emb" in name or "wte" in name
                ):  # small, or the model says its last token again and again
                    parameter.copy_(noise * 0.2 * parameter.shape[-1] ** -0.5)
                else:
                    parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    hf.generation_config.eos_token_id = 1
    hf.generation_config.pad_token_id = 0
    return hf


def tiny_chat_model(
    family: str = "llama", n_layers: int = 3, dtype: torch.dtype = torch.float64, seed: int | None = None
) -> ChatModel:
    """A tiny random chat model of a family."""
    return rhat.load((tiny_hf(family, n_layers, dtype, seed), tiny_tokenizer()))
