"""Any causal language model of transformers, tiny: its default configuration shrunk by the names of its settings.

`shrunk_hf("jamba")` is a random model of two blocks, some thousand parameters large, of the family that transformers calls
"jamba". Nothing here knows a family: what cannot be built so says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tiny import VOCAB

LAYERS, WIDTH, HEADS = 2, 32, 4
MOST = 6_000_000  # parameters of a model that counts as tiny

RULES: tuple[tuple[str, Any], ...] = (  # name of a setting → its small value; the first that matches counts
    (r"vocab_size.*|.*_vocab_size|.*_vocab", VOCAB),
    (r"pad_token_id", 0),
    (r"eos_token_id", 1),
    (r"bos_token_id", 2),
    (r"num_hidden_layers|n_layers?|num_layers|num_decoder_layers|num_encoder_layers|(de|en)coder_layers|num_blocks", LAYERS),
    (r"hidden_size_per_layer_input", 8),
    (r"moe_intermediate_size|.*expert.*(intermediate|ffn).*size|.*shared_intermediate_size", 16),
    (r".*experts?_per_tok(en)?|moe_topk|moe_k|experts_top_k|num_selected_experts|top_k_experts", 2),
    (r"n_groups?|topk_group|num_expert_groups?|mamba_n_?groups|num_mem_blocks", 1),
    (r"(num_|n_)(local_|routed_)?experts|moe_num_experts|num_routed_experts", 4),
    (r"(n|num|moe_num)_shared_experts|zero_expert_num|first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (r"(num_|n_)?(key_value|kv)_heads|n_head_kv", 2),
    (r"mamba_d_head|mamba_head_dim|qk_head_dim", 2 * WIDTH // HEADS),
    (r"d_head", WIDTH // HEADS),
    (r"(\w+_)?(num_|n_)?(attention_|query_|value_|key_)?heads?|(de|en)coder_attention_heads", HEADS),
    (r".*head_dim|.*_d_head|.*_head_size|d_kv|kv_channels|rotary_dim|.*rope_dim", WIDTH // HEADS),
    (r"(.*_)?intermediate_size(_.*)?|ffn_dim|n_inner|.*ffn_(hidden|dim|size).*|(de|en)coder_ffn_dim|dim_ff|inner_dim|feed_forward_size|mlp_hidden_size|mamba_d_ssm", 2 * WIDTH),
    (r"hidden_size|d_model|n_embd|hidden_dim|embedding_size|emb_dim|word_embed_proj_dim|dim_model|lru_width|width|input_embedding_size|backbone_hidden_size", WIDTH),
    (r".*lora_rank.*|.*_rank", 8),
    (r"(mamba_)?d_state|.*state_size", 8),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|seq_length|max_(target|source)_positions", 512),
    (r"sliding_window|attention_window_size|attention_chunk_size|window_size", 64),
    (r"chunk_size|mamba_chunk_size", 16),
    (r"attn_layer_period", 2),
    (r"attn_layer_offset", 1),
    (r"num_nextn_predict_layers|num_mtp_layers|num_kv_shared_layers", 0),
)  # fmt: skip
LISTS = r"layer_types|layers_block_type|block_types|mlp_layer_types|attn_type_list|hybrid_layer_pattern"
FILLED = r"head_dim|.*(heads?|experts)|num_experts_per_tok"  # settings that must be given in some configurations whose default is None
VARIANTS: tuple[tuple[bool, dict[str, Any]], ...] = (  # whether to fill them, and what else to try; the first that runs counts
    (False, {}),
    (True, {}),
    (False, {"layer_types": ["full_attention"] * LAYERS}),
    (False, {"num_key_value_heads": HEADS}),
    (True, {"num_key_value_heads": HEADS}),
    (False, {"layer_types": ["mamba", "attention"]}),
    (False, {"attn_layer_indices": [1]}),
    (False, {"num_experts_per_tok": 1}),
    (False, {"hidden_size_per_layer_input": 0}),
)  # fmt: skip


def small_settings(config: PreTrainedConfig, fill: bool = False) -> dict[str, Any]:
    """Small values for those settings of a default configuration that make it large."""
    found: dict[str, Any] = {}
    for name, value in config.to_dict().items():
        part = vars(config).get(name)
        small = next((small for pattern, small in RULES if re.fullmatch(pattern, name)), None)
        if isinstance(part, PreTrainedConfig):
            found[name] = small_settings(part, fill)
        elif isinstance(value, (list, tuple)) and value:
            if name == "attention_types":  # GPT-Neo: [[kinds, how often]]
                found[name] = [[value[0][0], LAYERS // len(value[0][0])]]
            elif re.fullmatch(LISTS, name) and isinstance(value[0], (str, int)):
                found[name] = two_of(list(dict.fromkeys(value)))
        elif small is None or isinstance(value, bool):
            continue
        elif isinstance(value, int) or "token_id" in name or (value is None and fill and re.fullmatch(FILLED, name)):
            found[name] = small
    return found


def two_of(kinds: list[Any]) -> list[Any]:
    """As many of these kinds of block as there are blocks: the first, and one with softmax attention."""
    attends = [k for k in kinds if re.fullmatch(r"full_attention|attention|hybrid", str(k))]
    return [*(k for k in kinds if k not in attends[:1]), *attends[:1]][::-1][:LAYERS][::-1] * (
        LAYERS if len(kinds) == 1 else 1
    )


def shrunk_config(kind: str, fill: bool = False, more: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    """The default configuration of a kind of model, shrunk."""
    made = transformers.CONFIG_MAPPING[kind]
    settings = {**small_settings(made(), fill), **(more or {})}
    config = made(**settings)
    config._name_or_path = f"shrunk-{kind}"
    for part in (config, config.get_text_config(decoder=True)):
        if hasattr(part, "is_decoder"):
            part.is_decoder = True
    return config


def shrunk_hf(kind: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A random model of that kind, large enough in its weights that an edit moves the logits.

    Raises:
        NotBuilt: with the reason, if no variant gives a tiny model that runs.
    """
    reasons = []
    for fill, more in VARIANTS:
        try:
            return _built(shrunk_config(kind, fill, more), dtype, seed)
        except Exception as error:
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
    raise NotBuilt(reasons[0])


class NotBuilt(Exception):
    """A kind of model whose shrunk configuration makes none that runs."""


def _built(config: PreTrainedConfig, dtype: torch.dtype, seed: int) -> Any:
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST:
        raise NotBuilt(f"{size:,} parameters")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(config, experts_implementation="eager").to(dtype).eval()
        with torch.no_grad():
            for parameter in hf.parameters():
                if not parameter.is_floating_point():
                    continue
                noise = torch.randn(parameter.shape, dtype=dtype)
                if parameter.ndim < 2:
                    parameter.add_(noise, alpha=0.2)
                else:
                    parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    hf.generation_config.eos_token_id = 1
    hf.generation_config.pad_token_id = 0
    hf.generation_config.forced_eos_token_id = None  # BART: the last token that fits is not the model's choice
    ids = torch.arange(20, 30)[None]
    with torch.no_grad():
        if not bool(hf(input_ids=ids, use_cache=False).logits.isfinite().all()):
            raise NotBuilt("its logits are not finite")
        hf.generate(input_ids=ids, max_new_tokens=2, do_sample=False)
    return hf


KINDS = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
