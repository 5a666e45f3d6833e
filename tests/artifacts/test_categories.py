"""Rates by category, against counts made another way."""

import numpy as np
import pytest
from scipy import stats

from rhat.artifacts.categories import category_rates
from rhat.report.appendix import categories, examples
from rhat.results import records
from studies import measured

REFUSED = [True, False, True, True, False, False]
KINDS = {f"harmful-{i}": kind for i, kind in enumerate(["theft", "theft", "fraud", "fraud", None, "theft"])}


def test_counts_and_intervals_are_those_of_the_category():
    rows = category_rates([measured("ablate", "harmful", REFUSED), measured("elsewhere", "harmful", REFUSED)], KINDS)
    assert [(row.condition, row.category, row.refused, row.n) for row in rows] == [
        ("ablate", "fraud", 2, 2),
        ("ablate", "theft", 1, 3),
    ]
    known = stats.binomtest(1, 3).proportion_ci(method="wilson")
    assert (rows[1].rate, rows[1].ci_low, rows[1].ci_high) == pytest.approx((1 / 3, known.low, known.high))


def test_one_category_or_none_is_no_table():
    assert category_rates([measured("ablate", "harmful", REFUSED)], dict.fromkeys(KINDS, "theft")) == []
    assert category_rates([measured("ablate", "harmful", REFUSED)], {}) == []


def test_the_page_has_a_row_a_category_and_a_column_a_condition():
    made = [measured("baseline", "harmful", REFUSED), measured("ablate", "harmful", list(~np.array(REFUSED)))]
    rows = [row.plain() for row in category_rates(made, KINDS)]
    head = {"schema_version": 3, "outcome": "found", "outcome_sentence": "found"}
    model = {"name": "tiny", "n_layers": 2, "d_model": 4, "dtype": "float32"}
    run = records(head | {"model": model, "category_rates": rows})
    [table] = categories(run)
    assert [head.title for head in table.heads] == ["Category", "Baseline", "Ablate", "n"]
    assert [line[0] for line in table.rows] == ["fraud", "theft"]
    assert table.rows[1][1].startswith("33% [")
    assert table.rows[1][2].startswith("67% [")
    assert examples(run) == []
