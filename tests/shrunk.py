"""Any causal language model of transformers, tiny: its default configuration shrunk by the names of its settings.

`shrunk_hf("jamba")` is a random model of two blocks, some thousand parameters large, of the family that transformers calls
"jamba". Nothing here knows a family: what cannot be built so says why.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tiny import VOCAB

LAYERS, WIDTH, HEADS = 2, 32, 4
MOST = 3_000_000  # parameters of a model that counts as tiny

RULES: tuple[tuple[str, Any], ...] = (  # name of a setting → its small value; the first that matches counts
    (r"vocab_size.*|.*_vocab_size|vocab_size_per_layer_input", VOCAB),
    (r"pad_token_id", 0),
    (r"eos_token_id", 1),
    (r"bos_token_id", None),
    (r"(num_hidden_layers|n_layers?|num_layers|(decoder|encoder)_layers|num_decoder_layers|num_encoder_layers|num_blocks)", LAYERS),
    (r"hidden_size_per_layer_input", 8),
    (r"moe_intermediate_size|.*expert.*(intermediate|ffn).*size|.*shared_intermediate_size", 16),
    (r".*expert.*_per_tok(en)?|num_experts_per_tok|moe_topk|moe_k|experts_top_k|num_selected_experts|top_k_experts", 2),
    (r"n_group|n_groups|topk_group|num_expert_groups?|mamba_n_groups|mamba_ngroups|moe_n_group.*", 1),
    (r"(num_|n_)(local_|routed_)?experts|moe_num_experts|num_routed_experts", 4),
    (r"n_shared_experts|num_shared_experts|moe_num_shared_experts", 1),
    (r"zero_expert_num", 1),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (r"(num_)?(key_value|kv)_heads|num_kv_heads|n_head_kv|num_key_value_heads", 2),
    (r"(linear_|mamba_|index_)?(num_|n_)?(attention_|query_|value_|key_)?heads?|(decoder|encoder)_attention_heads|linear_num_(key|value)_heads|mamba_num_heads|mamba_n_heads|index_n_heads", HEADS),
    (r".*rope_head_dim|.*rope_dim", 4),
    (r".*head_dim|.*_d_head|v_head_dim|qk_nope_head_dim|.*_head_size|d_kv|kv_channels", WIDTH // HEADS),
    (r"mamba_d_ssm", WIDTH),
    (r"hidden_size|d_model|n_embd|hidden_dim|embedding_size|emb_dim|word_embed_proj_dim|dim_model|lru_width|width|input_embedding_size", WIDTH),
    (r"(.*_)?intermediate_size(_.*)?|ffn_dim|n_inner|.*ffn_(hidden|dim|size).*|(decoder|encoder)_ffn_dim|dim_ff|inner_dim|feed_forward_size|ffn_hidden_size|mlp_hidden_size", 2 * WIDTH),
    (r".*lora_rank.*|.*_rank", 8),
    (r"(mamba_)?d_state|.*state_size|ssm_state_size", 8),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|seq_length|max_target_positions|max_source_positions", 512),
    (r"sliding_window|attention_window_size|attention_chunk_size|window_size", 64),
    (r"chunk_size|mamba_chunk_size", 16),
    (r"rotary_dim", 4),
    (r"num_nextn_predict_layers|num_mtp_layers", 0),
    (r"num_mem_blocks|num_kv_shared_layers", 0),
)  # fmt: skip
LISTS = r"layer_types|layers_block_type|block_types|mlp_layer_types|attention_types|attn_type_list|hybrid_layer_pattern"


def small_settings(config: PreTrainedConfig) -> dict[str, Any]:
    """Small values for those settings of a default configuration that make it large."""
    found: dict[str, Any] = {}
    for name, value in config.to_dict().items():
        if isinstance(value, bool):
            continue
        part = getattr(config, name, None)
        if isinstance(part, PreTrainedConfig):
            found[name] = small_settings(part)
        elif (
            re.fullmatch(LISTS, name)
            and isinstance(value, (list, tuple))
            and value
            and isinstance(value[0], (str, int))
        ):
            kinds = list(dict.fromkeys(value))
            found[name] = (kinds * LAYERS)[:LAYERS]
        elif isinstance(value, int) or value is None:
            for pattern, small in RULES:
                if re.fullmatch(pattern, name) and (value is not None or "token_id" in name):
                    found[name] = small
                    break
    return found


def shrunk_config(kind: str) -> PreTrainedConfig:
    """The default configuration of a kind of model, shrunk."""
    kind = transformers.CONFIG_MAPPING[kind]
    return kind(**small_settings(kind()))


def shrunk_hf(kind: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A random model of that kind, large enough in its weights that an edit moves the logits.

    Raises:
        ValueError: if what is left is too large to be called tiny.
    """
    config = shrunk_config(kind)
    config._name_or_path = f"shrunk-{kind}"
    for part in (config, config.get_text_config(decoder=True)):
        if hasattr(part, "is_decoder"):
            part.is_decoder = True
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST:
        raise ValueError(f"{size:,} parameters")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(config, experts_implementation="eager").to(dtype).eval()
        with torch.no_grad():
            for parameter in hf.parameters():
                noise = torch.randn(parameter.shape, dtype=dtype)
                if parameter.ndim == 1:
                    parameter.add_(noise, alpha=0.2)
                else:
                    parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    hf.generation_config.eos_token_id = 1
    hf.generation_config.pad_token_id = 0
    return hf


KINDS = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
