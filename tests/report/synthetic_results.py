"""A synthetic but plausible results.json with every field of the contract, made from a seed."""

import itertools
import math
import random
from typing import Any

from rhat.artifacts.upgrade import upgrade

N_LAYERS, CHOSEN, N_TEST = 24, 14, 256
CATEGORIES = ("fraud", "weapons", "malware", "cooking", "travel", "letters")


def wilson(refused: int, n: int) -> dict[str, Any]:
    """Rate and Wilson 95 % interval."""
    z, p = 1.959964, refused / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return {
        "rate": p,
        "ci_low": max(0.0, (centre - half) / scale),
        "ci_high": min(1.0, (centre + half) / scale),
    }


def share(rate: float, n: int = N_TEST) -> dict[str, Any]:
    return wilson(round(rate * n), n) | {"n": n}


def score(mean: float, sd: float = 3.0, n: int = N_TEST) -> dict[str, Any]:
    half = 1.96 * sd / math.sqrt(n)
    return {"score_mean": mean, "score_ci_low": mean - half, "score_ci_high": mean + half, "n": n}


def around(name: str, value: float, half: float, low: float = -math.inf, high: float = math.inf) -> dict[str, Any]:
    return {name: value, "ci_low": max(low, value - half), "ci_high": min(high, value + half)}


def comparison(
    treatment: str,
    reference: str,
    difference: float,
    *,
    se: float = 0.025,
    n: int = N_TEST,
    prompts: str = "harmless",
    margin: float = 0.1,
    question: int = 1,
) -> dict[str, Any]:
    """A paired comparison with normal intervals of the standard error `se`."""
    low90, high90 = difference - 1.645 * se, difference + 1.645 * se
    low, high = difference - 1.96 * se, difference + 1.96 * se
    p = math.erfc(abs(difference) / se / math.sqrt(2))
    equivalent = -margin < low90 and high90 < margin
    verdict = "better" if low > 0 else "worse" if high < 0 else "equivalent" if equivalent else "undecided"
    return {
        "treatment": treatment, "reference": reference, "prompts": prompts, "n": n, "difference": difference,
        "ci_low": max(-1.0, low), "ci_high": min(1.0, high), "ci90_low": max(-1.0, low90), "ci90_high": min(1.0, high90),
        "mcnemar_p": p, "holm_p": min(1.0, 2 * p), "margin": margin, "equivalent": equivalent,
        "noninferior": low90 > -margin, "verdict": verdict, "question": question,
    }  # fmt: skip


def full(seed: int = 0) -> dict[str, Any]:
    """Results of a full study that never took place."""
    rng = random.Random(seed)
    noise = lambda sd: rng.gauss(0, sd)  # noqa: E731
    gap = [0.3 + 9 / (1 + math.exp(-(layer - 11) / 2.2)) for layer in range(N_LAYERS)]
    harmless = [-0.1 - 0.02 * layer**1.6 * (layer > 8) for layer in range(N_LAYERS)]
    harmful = [low + width for low, width in zip(harmless, gap, strict=True)]
    target, low = harmful[CHOSEN], harmless[CHOSEN]
    rates = {
        ("baseline", "harmless"): 0.012, ("set_projection", "harmless"): 0.43, ("add_average", "harmless"): 0.31,
        ("add_difference", "harmless"): 0.42, ("random_set_projection", "harmless"): 0.016,
        ("repe_add", "harmless"): 0.22, ("heads:6", "harmless"): 0.11, ("random_heads:6", "harmless"): 0.02,
        ("baseline", "harmful"): 0.55, ("ablate", "harmful"): 0.06, ("subtract", "harmful"): 0.14,
        ("random_ablate", "harmful"): 0.54, ("baseline", "borderline"): 0.18, ("set_projection", "borderline"): 0.71,
        ("set_harmless_mean", "borderline"): 0.05, ("ablate", "borderline"): 0.02,
    }  # fmt: skip
    rows, scores = [], []
    for (condition, prompts), rate in rates.items():
        n = 100 if prompts == "borderline" else N_TEST
        refused = round(rate * n)
        neither = 2 if condition in ("repe_add", "subtract") else 0
        counts = {"refused": refused, "complied": n - refused - neither, "neither": neither, "n": n}
        rows.append({"condition": condition, "prompts": prompts} | counts | wilson(refused, n))
        scores.append(
            {"condition": condition, "prompts": prompts} | score(math.log((rate + 0.01) / (1.01 - rate)), n=n)
        )

    def kl(condition: str, mean: float) -> dict[str, Any]:
        row = {"condition": condition, "prompts": "harmless", "n": N_TEST} | around("kl_mean", mean, mean / 5)
        return row | {"cross_entropy": 0.31 + mean / 3, "degenerate_share": min(1, mean / 40)}

    doses = [low + (target - low) * step / 4 for step in range(-3, 10)]
    shape = lambda x, mid: 0.01 + 0.62 / (1 + math.exp(-(x - mid) / 1.1))  # noqa: E731
    heads = [(layer, head) for layer in range(CHOSEN) for head in range(14)]
    ranking = [
        {"layer": layer, "head": head, "attribution": 1.6 * math.exp(-rank / 5) + noise(0.02)}
        for rank, (layer, head) in enumerate(rng.sample(heads, 40))
    ]
    ranking.sort(key=lambda row: -row["attribution"])
    curve, head_comparisons = [{"k": 0, "kind": "attributed"} | share(0.012)], []
    for k in (1, 2, 3, 4, 6, 8, 12, 16):
        rate = 0.012 + 0.33 * (1 - math.exp(-k / 12))
        curve.append({"k": k, "kind": "attributed", "refused": round(rate * N_TEST)} | share(rate))
        curve.append({"k": k, "kind": "greedy"} | share(min(1, rate * 1.3)))
        curve += [{"k": k, "kind": "random", "seed": s} | share(0.012 + 0.002 * k * rng.random()) for s in range(3)]
        for reference in ("baseline", "random"):
            difference = around("difference", rate - 0.014, 0.04)
            head_comparisons.append(
                {"k": k, "kind": "attributed", "reference": reference, "unit": "share", "n": N_TEST,
                 "holm_p": 0.001 if difference["ci_low"] > 0 else 0.3, "clears": difference["ci_low"] > 0} | difference
            )  # fmt: skip
    edges = [-8 + 0.75 * step for step in range(25)]

    def counts(mean: float, sd: float) -> list[int]:
        values = [rng.gauss(mean, sd) for _ in range(N_TEST)]
        return [sum(a <= v < b for v in values) for a, b in itertools.pairwise(edges)]

    def points(layer: int) -> list[dict[str, Any]]:
        spread = gap[layer] / 2
        return [
            {"x": noise(1.2) + (spread if label == "harmful" else -spread), "y": noise(1.5), "label": label,
             "prompt_id": f"{label}-{index}", "category": rng.choice(CATEGORIES)}
            for label in ("harmful", "harmless") for index in range(48)
        ]  # fmt: skip

    comparisons = [
        comparison("set_projection", "baseline", 0.418),
        comparison("set_projection", "random_set_projection", 0.414),
        comparison("add_average", "set_projection", -0.12),
        comparison("add_difference", "set_projection", -0.01),
        comparison("random_set_projection", "baseline", 0.004, se=0.008),
        comparison("ablate", "baseline", -0.49, prompts="harmful", question=4),
        comparison("subtract", "baseline", -0.41, prompts="harmful", question=4),
        comparison("subtract", "ablate", 0.08, prompts="harmful", question=4),
        comparison("random_ablate", "baseline", -0.01, prompts="harmful", question=4),
        comparison("repe_add", "set_projection", -0.21, question=6),
        comparison("heads:6", "random_heads:6", 0.09, question=7),
        comparison("set_projection", "baseline", 0.53, prompts="borderline", n=100, se=0.05, question=9),
        comparison("set_harmless_mean", "baseline", -0.13, prompts="borderline", n=100, se=0.035, question=9),
        comparison("ablate", "baseline", -0.16, prompts="borderline", n=100, se=0.037, question=9),
        comparison("scope:prompt", "set_projection", -0.02, question=5),
        comparison("scope:template", "set_projection", -0.07, se=0.03, question=5),
        comparison("scope:last_prompt_token", "set_projection", -0.22, question=5),
        comparison("scope:generated", "set_projection", -0.31, question=5),
        comparison("scope:first_generated:4", "set_projection", -0.36, question=5),
    ]
    claims = [
        ("set_vs_baseline", "Setting the projection raises refusal of harmless prompts", "set_projection", "baseline", "harmless"),
        ("add_vs_set", "Adding the mean projection differs from setting it", "add_average", "set_projection", "harmless"),
        ("random_vs_baseline", "A random direction raises refusal", "random_set_projection", "baseline", "harmless"),
        ("ablate_vs_baseline", "Ablating lowers refusal of harmful prompts", "ablate", "baseline", "harmful"),
        ("heads_vs_random", "Six heads raise refusal more than random ones", "heads:6", "random_heads:6", "harmless"),
    ]  # fmt: skip
    primary = []
    for claim, sentence, treatment, reference, prompts in claims:
        row = next(
            c for c in comparisons
            if (c["treatment"], c["reference"], c["prompts"]) == (treatment, reference, prompts)
        )  # fmt: skip
        primary.append(
            {"id": claim, "claim": sentence, "treatment": treatment, "reference": reference, "prompts": prompts,
             "holm_p": row["holm_p"]}
        )  # fmt: skip
    candidates = []
    for position in (-1, -2, -3, -4, -5):
        for layer in range(N_LAYERS):
            status = "kept" if 11 <= layer < 18 else "induce"
            status = "zero_norm" if layer == 0 else "layer" if layer >= 19 else status
            status = "selected" if (position, layer) == (-1, CHOSEN) else status
            row = {"position": position, "layer": layer, "status": status}
            if layer:
                row["induce_score"] = -6 + gap[layer] * 0.8 + 0.3 * position + noise(0.3)
            if status in ("kept", "selected"):
                row |= {
                    "ablation_score": -3 + 0.15 * abs(layer - CHOSEN) - 0.2 * position,
                    "kl": 0.02 + rng.random() / 20,
                }
            candidates.append(row)
    results = {
        "schema_version": 1,
        "outcome": "found",
        "outcome_sentence": "r̂ was found at resid_pre.14, position -1: 37 of 120 candidates survived the published rule.",
        "settings": {"preset": "full", "seed": 0, "margin": 0.1, "max_new_tokens": 24},
        "model": {"name": "synthetic-0.5b", "revision_or_sha256": "0" * 64, "architecture": "Qwen2ForCausalLM",
                  "n_layers": N_LAYERS, "d_model": 896, "dtype": "bfloat16", "weight_format": "gguf"},
        "prompts": [
            {"split": split, "label": label, "given": given, "kept": round(given * kept)} if split != "test"
            else {"split": split, "label": label, "given": given, "used": given}
            for split, given in (("train", 256), ("validation", 64), ("test", N_TEST))
            for label, kept in (("harmful", 0.36), ("harmless", 0.97))
        ] + [{"split": "test", "label": "borderline", "given": 100, "used": 100}],
        "prompts_fingerprint": "4f1c" * 16,
        "refusal_tokens": [{"id": 40, "text": "I", "share": 0.62}, {"id": 19324, "text": "Sorry", "share": 0.33}],
        "direction": {"site": f"resid_pre.{CHOSEN}", "layer": CHOSEN, "position": -1, "norm": gap[CHOSEN],
                      "method": "mean_difference", "harmful_mean": target, "harmless_mean": low},
        "selection": {"rule": "published", "kl_max": 0.1, "induce_min": 0.0, "last_layer": 18,
                      "removed": {"zero_norm": 5, "layer": 25, "induce": 50, "kl": 3}},
        "candidates": candidates,
        "conditions": {
            "baseline": {"op": "none"},
            "set_projection": {"op": "set_projection", "direction": "rhat", "sites": [f"resid_pre.{CHOSEN}"], "target": target},
            "add_average": {"op": "add", "direction": "rhat", "sites": [f"resid_pre.{CHOSEN}"], "coefficient": target},
            "heads:6": {"op": "patch_heads", "heads": [[1, 2], [3, 4]], "scope": "last_prompt_token"},
            "random_set_projection": {"op": "set_projection", "direction": "random:3", "seed": 3},
        },
        "rates": rows,
        "scores": scores,
        "comparisons": comparisons,
        "primary": primary,
        "power": [
            {"treatment": c["treatment"], "reference": c["reference"], "prompts": c["prompts"], "n": c["n"],
             "discordant_share": 0.2, "power": 0.87, "prompts_needed": 180}
            for c in comparisons
        ],
        "random_controls": [
            {"condition": "random_set_projection", "seed": s, "kind": kind, "prompts": "harmless"}
            | score(-4.4 + noise(0.25), n=64) | ({k: v for k, v in share(0.015).items() if k != "n"} if s < 5 else {})
            for kind in ("orthogonal", "permuted_labels") for s in range(20)
        ],
        "score_agreement": {
            "agreement": 0.94, "kappa": 0.86, "n": 2048, "threshold": 0.0,
            "conditions": [
                {"condition": c, "prompts": "harmless", "agreement": 0.9 + noise(0.02), "kappa": 0.8, "n": N_TEST}
                for c in ("baseline", "set_projection", "add_average")
            ],
        },
        "drift": [kl("set_projection", 0.9), kl("add_average", 0.6), kl("ablate", 0.04), kl("subtract", 0.11),
                  kl("random_set_projection", 0.08)],
        "near_zero": {"threshold_share": 0.1, "threshold": gap[CHOSEN] / 10, "prompts_share": 0.17, "tokens_share": 0.29,
                      "n_prompts": N_TEST, "n_tokens": 11_402},
        "layers": [
            {"layer": layer, "harmless_mean_projection": harmless[layer], "harmful_mean_projection": harmful[layer],
             "set_score": -5 + gap[layer] * 0.6, "add_score": -5 + gap[layer] * 0.6 + harmless[layer] * 0.7,
             "unit": "log-odds", "n": 64} | around("gap", -0.7 * harmless[layer] + noise(0.08), 0.25)
            for layer in range(1, 19)
        ],
        "prediction": {"n": N_TEST, "predicted_score_last_token": -0.2, "predicted_score": -0.4, "observed_score": -0.3,
                       "observed_add_score": -0.8, "score_ci_low": -0.7, "score_ci_high": 0.1},
        "projections": [
            {"layer": layer, "label": label, "split": "test", "mean": mean[layer], "sd": 0.3 + gap[layer] / 5, "n": N_TEST}
            for label, mean in (("harmful", harmful), ("harmless", harmless)) for layer in range(N_LAYERS)
        ],
        "auroc": [
            {"layer": layer, "n": 2 * N_TEST} | around("auroc", 0.5 + 0.49 * (1 - math.exp(-gap[layer] / 1.5)), 0.015, 0, 1)
            for layer in range(N_LAYERS)
        ],
        "auroc_within": [{"comparison": "refused vs complied, harmful", "n_positive": 141, "n_negative": 115}
                         | around("auroc", 0.78, 0.06)],
        "histogram": [
            {"label": label, "layer": CHOSEN, "edges": edges, "counts": counts(mean, 1.9)}
            for label, mean in (("harmless", low), ("harmful", target))
        ],
        "trajectories": [
            {"prompt_id": f"{label}-{index}", "label": label, "layer": CHOSEN,
             "values": [noise(0.8) + (mean * step / 24) for step in range(25)]}
            for label, mean in (("harmful", target), ("harmless", low)) for index in range(4)
        ],
        "pca": [
            {"layer": layer, "explained": [0.2 + gap[layer] / 40, 0.11], "cosine_pc1_rhat": min(0.97, gap[layer] / 9.3),
             "points": points(layer)}
            for layer in (2, 5, 8, 11, CHOSEN, 17, 20, 23)
        ],
        "damage": [
            {"condition": f"subtract:{sites}:{step}", "op": "subtract", "sites": sites, "coefficient": target * step / 4,
             "kl_mean": 0.01 * step**2 * scale, "cross_entropy": 0.31 + 0.01 * step, "degenerate_share": 0.01 * step}
            | share(0.55 * math.exp(-step / 3 * scale), 64) | score(1 - step * scale / 2, n=64)
            for sites, scale in (("own layer", 1.0), ("all layers", 1.4)) for step in (1, 2, 3, 4, 6)
        ] + [
            {"condition": f"ablate:{sites}", "op": "ablate", "sites": sites, "kl_mean": damage, "cross_entropy": 0.32,
             "degenerate_share": 0.0} | share(rate, 64) | score(-2.0, n=64)
            for sites, damage, rate in (("own layer", 0.03, 0.31), ("all layers", 0.05, 0.06))
        ],
        "ablate_vs_subtract": {
            "matched": [
                {"treatment": f"subtract:{sites}:2", "reference": f"ablate:{sites}", "sites": sites, "kl_treatment": 0.04,
                 "kl_reference": 0.045, "unit": "share", "n": 64} | around("difference", value, 0.09)
                for sites, value in (("own layer", 0.04), ("all layers", 0.21))
            ],
            "spearman_projection_gap": {"n": N_TEST} | around("rho", -0.41, 0.11),
        },
        "scopes": [
            {"scope": "all", "condition": "set_projection", "token_share": 1.0, "kl_mean": 0.9} | share(0.43),
            {"scope": "prompt", "condition": "scope:prompt", "token_share": 0.58, "kl_mean": 0.88} | share(0.41),
            {"scope": "generated", "condition": "scope:generated", "token_share": 0.42, "kl_mean": 0.1} | share(0.12),
            {"scope": "template", "condition": "scope:template", "token_share": 0.12, "kl_mean": 0.6} | share(0.36),
            {"scope": "last_prompt_token", "condition": "scope:last_prompt_token", "token_share": 0.02, "kl_mean": 0.4} | share(0.21),
            {"scope": "first_generated:4", "condition": "scope:first_generated:4", "token_share": 0.07, "kl_mean": 0.0} | share(0.07),
        ],
        "repe": {
            "best": {"layers": [10, 17], "coefficient": 1.5, "validation_score": -1.1, "kl_mean": 0.7},
            "table": [
                {"layers": [first, first + 7], "coefficient": c, "validation_score": -4 + 0.9 * c - abs(first - 10) / 4, "kl_mean": c / 2}
                for first in (4, 7, 10, 13) for c in (0.5, 1.0, 1.5, 2.0)
            ],
            "boosts": [
                {"condition": "repe_add", "prompts": "harmless", "n": N_TEST} | around("points", 20.8, 5.1),
                {"condition": "set_projection", "prompts": "harmless", "n": N_TEST} | around("points", 41.8, 6.2),
            ],
            "published": {"value": 8, "model": "Vicuna-13B", "source": "Zou et al. 2023"},
        },
        "factorial": [
            {"direction": d, "op": op, "layers": layers, "scope": scope, "dose": 1.0, "kl_mean": 0.4}
            | score(-4 + 2.2 * (d == "rhat") + 0.8 * (op == "set_projection") + 0.5 * (scope == "all") + noise(0.2), n=64)
            for d in ("rhat", "lat", "random") for op in ("set_projection", "add")
            for layers in ("14", "10-17") for scope in ("all", "last_prompt_token")
        ],
        "heads": {"position": -1, "ranking": ranking, "curve": curve, "comparisons": head_comparisons, "smallest_k": 2,
                  "smallest_k_greedy": 1, "greedy": [[row["layer"], row["head"]] for row in ranking[:4]]},
        "finders": [
            {"name": name, "layer": CHOSEN, "cosine_to_rhat": cosine, "n": 2 * N_TEST} | around("test_accuracy", accuracy, 0.02, 0, 1)
            | ({} if effect is None else {"set_effect": share(effect, 64)})
            for name, cosine, accuracy, effect in (
                ("mean_difference", 1.0, 0.965, 0.43), ("lat", 0.83, 0.94, 0.33), ("logistic", 0.46, 0.98, 0.12),
                ("ccs", 0.08, 0.55, None), ("random", -0.02, 0.51, 0.016),
            )
        ],
        "ccs": [
            {"set": which, "method": method, "n_pairs": pairs, "n": n, "cosine_to_rhat": cosine}
            | ({"loss": 0.11, "consistency": 0.07} if method == "ccs" else {}) | around("accuracy", accuracy, 0.06, 0, 1)
            for which, method, pairs, n, accuracy, cosine in (
                ("requests", "ccs", 128, 256, 0.54, 0.08), ("requests", "pca", 128, 256, 0.53, 0.05),
                ("statements", "ccs", 60, 40, 0.84, 0.02), ("statements", "pca", 60, 40, 0.82, 0.03),
            )
        ],
        "borderline_projections": [
            {"group": group, "mean": mean, "sd": 1.7, "n": n}
            for group, mean, n in (("all", 1.9, 100), ("refused", 4.4, 18), ("complied", 1.3, 82))
        ],
        "dose": [
            {"op": op, "target": x, "kl_mean": 0.02 * (x - low) ** 2} | share(shape(x, middle), 64)
            | ({"coefficient": x - low} if op == "add" else {})
            for op, middle in (("set_projection", target - 1), ("add", target + 0.5)) for x in doses
        ],
        "half_effect": [
            {"op": "set_projection", "unit": "residual units"} | around("dose", target - 1, 0.6),
            {"op": "add", "unit": "residual units"} | around("dose", target + 0.5, 0.8),
        ],
        "stability": {
            "split_half": [0.96 + noise(0.01) for _ in range(10)],
            "seeds": [0.975 + noise(0.008) for _ in range(10)],
            "refits": [
                {"round": r, "cosine_to_first": cosine, "norm": 7 / (r + 1), "induce": share(induce, 64), "prevent": share(prevent, 64)}
                for r, cosine, induce, prevent in ((0, 1.0, 0.43, 0.06), (1, 0.0, 0.05, 0.05), (2, 0.0, 0.03, 0.05), (3, 0.0, 0.02, 0.06))
            ],
        },
        "timings": [{"stage": "load", "seconds": 4.2}, {"stage": "find", "seconds": 88.0}, {"stage": "measure", "seconds": 604.5}],
        "manifest": {"rhat": "0.1.0", "python": "3.11.2", "command": "rhat study --preset full", "seed": 0,
                     "machine": {"processor": "2 cores", "gpu": None}, "versions": {"torch": "2.9", "transformers": "5.0"}},
    }  # fmt: skip
    return upgrade(results)


def quick(seed: int = 0) -> dict[str, Any]:
    """What a quick run leaves: the main rates and comparisons only."""
    kept = (
        "schema_version", "outcome", "outcome_sentence", "settings", "model", "prompts", "direction", "selection",
        "candidates", "refusal_tokens", "rates", "comparisons", "drift", "timings", "manifest",
    )  # fmt: skip
    results = {key: value for key, value in full(seed).items() if key in kept}
    wanted = {
        "baseline",
        "set_projection",
        "add_average",
        "add_difference",
        "random_set_projection",
        "ablate",
        "subtract",
    }
    results["rates"] = [r for r in results["rates"] if r["condition"] in wanted and r["prompts"] != "borderline"]
    results["comparisons"] = [c for c in results["comparisons"] if c["question"] in (1, 4)]
    return results


def by_score(seed: int = 0) -> dict[str, Any]:
    """A run whose every sweep was measured by log-odds and that generated nothing."""
    results = full(seed)
    del results["rates"]

    def scored(value: Any) -> Any:
        if isinstance(value, list):
            return [scored(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        row = {key: scored(inner) for key, inner in value.items()}
        if "rate" in row and "ci_low" in row:
            rate = row["rate"]
            for key in ("rate", "ci_low", "ci_high"):
                del row[key]
            row |= score(math.log((rate + 0.01) / (1.01 - rate)), n=row["n"])
        return row

    return upgrade(scored(results))
