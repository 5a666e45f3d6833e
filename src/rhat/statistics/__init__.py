"""Statistics: rates, paired differences, equivalence, rankings and doses, each with its interval.

No torch here; scipy and statsmodels, loaded when first needed, plus what they lack.
"""

from rhat.statistics.agreement import Agreement, agreement
from rhat.statistics.bounds import fewest_to_bound, prompts_to_bound, share_below_p
from rhat.statistics.classes import ClassAccuracy, class_accuracy, class_kappa
from rhat.statistics.clusters import ClusteredDifference, cluster_mean_difference
from rhat.statistics.correlation import spearman
from rhat.statistics.crossing import crossing_dose
from rhat.statistics.dependence import Dependence, dependence, design_effect
from rhat.statistics.doses import HalfEffectDose, half_effect_dose
from rhat.statistics.equivalence import equivalence_power, prompts_needed
from rhat.statistics.intervals import Interval
from rhat.statistics.judgement import Judgement, judge, noninferior, within_margin
from rhat.statistics.margins import MarginTests, direction_p, margin_tests
from rhat.statistics.means import mean_interval, mean_p, paired_mean_difference
from rhat.statistics.misclassification import JudgeErrors, corrected_difference, corrected_rate
from rhat.statistics.multiplicity import fixed_sequence, holm, holm_exclusive
from rhat.statistics.paired import PairedComparison, mcnemar_exact, paired_comparison, sign_flip_p, tango_interval
from rhat.statistics.ranking import Auroc, RocCurve, auroc, roc_curve
from rhat.statistics.rates import wilson
from rhat.statistics.thresholds import CalibratedThreshold, threshold_at_fpr

__all__ = [
    "Agreement",
    "Auroc",
    "CalibratedThreshold",
    "ClassAccuracy",
    "ClusteredDifference",
    "Dependence",
    "HalfEffectDose",
    "Interval",
    "JudgeErrors",
    "Judgement",
    "MarginTests",
    "PairedComparison",
    "RocCurve",
    "agreement",
    "auroc",
    "class_accuracy",
    "class_kappa",
    "cluster_mean_difference",
    "corrected_difference",
    "corrected_rate",
    "crossing_dose",
    "dependence",
    "design_effect",
    "direction_p",
    "equivalence_power",
    "fewest_to_bound",
    "fixed_sequence",
    "half_effect_dose",
    "holm",
    "holm_exclusive",
    "judge",
    "margin_tests",
    "mcnemar_exact",
    "mean_interval",
    "mean_p",
    "noninferior",
    "paired_comparison",
    "paired_mean_difference",
    "prompts_needed",
    "prompts_to_bound",
    "roc_curve",
    "share_below_p",
    "sign_flip_p",
    "spearman",
    "tango_interval",
    "threshold_at_fpr",
    "wilson",
    "within_margin",
]
