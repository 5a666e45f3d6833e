"""Finders: how a direction is made of two groups of activations, in words.

A new finder is one function, in a file of `rhat.directions.finders`, and one record in `_RECORDS`. The library, `rhat find`,
reports and docs/finding.md are made from these records.
"""

from __future__ import annotations

from dataclasses import dataclass

from rhat.reprs import one_line


@dataclass(frozen=True)
class FinderOption:
    """What may follow a finder's name after a colon, as in `random:3`.

    name     the function's keyword
    meaning  what it is, in a few words
    default  its value where none is given, and its type; None: a name, which must be given
    """

    name: str
    meaning: str
    default: int | None = None

    __repr__ = one_line


@dataclass(frozen=True)
class FinderKind:
    """A finder, with the words that describe it.

    name      the function's name, and what users write
    module    the file of `rhat.directions.finders` that holds it
    label     on pages: "Difference of means"
    formula   in symbols: X⁺ and X⁻ are the rows of the two groups, μ⁺ and μ⁻ their means, d = μ⁺ − μ⁻
    source    who published it, and where it is written
    option    what may follow its name
    needs     what it is given beside the groups: categories (one a positive row), harmful (rows), vector
    positive  whose prompts the positive group is
    report    the function of the same file that says more of what was found; "": none
    control   whether it ignores the labels on purpose
    compared  whether a study compares it with the others, which takes a generation run each
    """

    name: str
    module: str
    label: str
    formula: str
    source: str
    option: FinderOption | None = None
    needs: tuple[str, ...] = ()
    positive: str = "harmful"
    report: str = ""
    control: bool = False
    compared: bool = False

    __repr__ = one_line

    @property
    def written(self) -> str:
        """How it is written: "random:SEED"."""
        return self.name if self.option is None else f"{self.name}:{self.option.name.upper()}"


_RECORDS = (
    FinderKind(
        "mean_difference",
        "means",
        "Mean difference",
        "μ⁺ − μ⁻",
        "Arditi et al. 2024 (arXiv 2406.11717), section 2.3",
        compared=True,
    ),
    FinderKind(
        "projected_difference",
        "means",
        "Projected difference",
        "d − (d·μ⁻) μ⁻ / |μ⁻|²",
        "the part of d that is orthogonal to the harmless mean; used with abliteration, without a paper",
    ),
    FinderKind(
        "category",
        "means",
        "Difference of one category",
        "mean of the rows of X⁺ in the category − μ⁻",
        "the difference of means within one category; reports the cosines between categories",
        option=FinderOption("category", "a category of the positive prompts"),
        needs=("categories",),
        report="category_cosines",
    ),
    FinderKind(
        "false_refusal",
        "means",
        "False refusal",
        "v − (v·r̂) r̂, v = μ⁺ − μ⁻ of refused borderline prompts, r̂ = (mean of harmful rows − μ⁻) / its length",
        "Wang et al. 2024 (arXiv 2410.03415)",
        needs=("harmful",),
        positive="borderline",
    ),
    FinderKind(
        "lat",
        "components",
        "LAT",
        "first principal component of X⁺ − X⁻ over random pairs, each turned round by a coin",
        "Zou et al. 2023 (arXiv 2310.01405), section 3.1",
        option=FinderOption("seed", "seed of the pairs", 0),
        compared=True,
    ),
    FinderKind(
        "paired_svd",
        "components",
        "SVD of paired differences",
        "right singular vector of the rows x⁺ᵢ − x⁻ᵢ, not centred, by falling singular value",
        "PCA on contrast pairs as in Zou et al. 2023 (arXiv 2310.01405), without centring; reports the spectrum",
        option=FinderOption("component", "which, 0 the first", 0),
        report="spectrum",
    ),
    FinderKind(
        "logistic",
        "probes",
        "Logistic probe",
        "argmin Σ log(1 + exp(−y (w·z + b))) + ½ |w|², z standardised; w in the units of x",
        "L2 logistic regression, fitted with L-BFGS",
        compared=True,
    ),
    FinderKind(
        "whitened",
        "probes",
        "Whitened difference (LDA)",
        "Σ⁻¹ d, Σ = (1 − s) S + s (tr S / d_model) I, S the covariance within the groups, s of Ledoit–Wolf",
        "Fisher's discriminant; shrinkage of Ledoit and Wolf 2004 (Journal of Multivariate Analysis 88:365)",
        report="shrinkage",
    ),
    FinderKind(
        "som",
        "maps",
        "Self-organising map",
        "mᵢ − μ⁻, m the neurons of a 4 × 4 map of X⁺, those with most rows first",
        "Piras et al. 2025 (arXiv 2511.08379)",
        option=FinderOption("neuron", "which, 0 the one with most rows", 0),
        report="map_report",
    ),
    FinderKind(
        "given",
        "controls",
        "Given vector",
        "the vector itself",
        "the user's own, such as a row of a sparse autoencoder's decoder",
        needs=("vector",),
    ),
    FinderKind(
        "random",
        "controls",
        "Random",
        "g / |g|, g normal, the same at every layer",
        "control: knows nothing of the rows but the sign",
        option=FinderOption("seed", "seed of the draw", 0),
        control=True,
    ),
    FinderKind(
        "permuted",
        "controls",
        "Permuted labels",
        "μ⁺ − μ⁻ after the labels were permuted",
        "control: the difference of means without its labels",
        option=FinderOption("seed", "seed of the permutation", 0),
        control=True,
    ),
)

FINDER_KINDS: dict[str, FinderKind] = {kind.name: kind for kind in _RECORDS}
"""The finders by name, in words; `rhat.directions.FINDERS` holds their functions."""
