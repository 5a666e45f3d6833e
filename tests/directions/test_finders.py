import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rhat.directions import FINDERS, fit_ccs, lat, logistic, mean_difference, random_direction
from rhat.directions.ccs import ccs_loss
from rhat.errors import ContrastError
from rhat.vocabulary import FINDER_KINDS

ALONE = [name for name, kind in FINDER_KINDS.items() if not kind.needs]  # what needs the two groups only
FINDING = [name for name in ALONE if not FINDER_KINDS[name].control]
OF_THE_WHOLE_GAP = [name for name in FINDING if name not in ("projected_difference", "som")]


def noise(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(d=24, n=300, size=4.0):
    u = torch.zeros(d, dtype=torch.float64)
    u[3], u[7] = 0.6, -0.8
    return u, noise(n, d, 0) + size * u, noise(n, d, 1)


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


def test_the_table_of_functions_is_that_of_the_records():
    assert [*FINDERS] == [*FINDER_KINDS]


@pytest.mark.parametrize("name", OF_THE_WHOLE_GAP)
def test_every_finder_recovers_a_planted_direction_with_its_sign(name):
    u, positive, negative = planted()
    assert cosine(FINDERS[name](positive, negative), u) > 0.95
    assert cosine(FINDERS[name](negative, positive), u) < -0.95


@pytest.mark.parametrize(("name", "least"), [("projected_difference", 0.95), ("som", 0.85)])
def test_the_others_recover_it_where_it_is_across_the_harmless_mean(name, least):
    """A neuron of the map is the mean of a few rows only, so that noise is left in it."""
    u, positive, negative = planted(d=24, n=300)
    offset = torch.zeros(24, dtype=torch.float64)
    offset[0] = 100
    assert cosine(FINDERS[name](positive + offset, negative + offset), u) > least
    assert cosine(FINDERS[name](negative + offset, positive + offset), u) < -least


@pytest.mark.parametrize("name", ALONE)
def test_an_empty_side_says_what_to_do(name):
    with pytest.raises(ContrastError, match="got 0 positive and 5 negative; check the filter"):
        FINDERS[name](noise(0, 4, 0), noise(5, 4, 1))


def test_mean_difference_has_the_gaps_length():
    _, positive, negative = planted(size=4.0, n=4000)
    assert float(mean_difference(positive, negative).norm()) == pytest.approx(4.0, abs=0.15)


def test_lat_in_fixed_order_loses_the_signal_to_centring():
    u, positive, negative = planted()
    assert abs(cosine(lat(positive, negative, shuffle=False), u)) < 0.5
    assert cosine(lat(positive, negative), u) > 0.97


def test_lat_is_repeatable():
    _, positive, negative = planted()
    torch.testing.assert_close(lat(positive, negative, seed=5), lat(positive, negative, seed=5), atol=0, rtol=0)


def test_logistic_agrees_with_scikit_learn():
    _, positive, negative = planted(d=8, n=80, size=1.0)
    x = torch.cat([positive, negative])
    z = ((x - x.mean(0)) / x.std(0)).numpy()
    y = np.r_[np.ones(80), np.zeros(80)]
    truth = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(z, y).coef_[0] / x.std(0).numpy()
    np.testing.assert_allclose(logistic(positive, negative).numpy(), truth / np.linalg.norm(truth), atol=1e-5)


def test_random_directions_are_seeded_unit_and_orthogonal():
    u = planted()[0].float()
    a, b = random_direction(24, 1, u), random_direction(24, 2, u)
    assert float(a.norm()) == pytest.approx(1, abs=1e-6)
    assert abs(float(a @ u)) < 1e-6
    assert not torch.equal(a, b)
    assert torch.equal(a, random_direction(24, 1, u))


def pairs(n, d, seed, strength):
    """Pairs whose sides differ by form (a constant) and by a hidden truth along one axis."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 2, (n,), generator=generator).bool()
    sign = truth.double() * 2 - 1
    axis = torch.zeros(d, dtype=torch.float64)
    axis[2] = 1
    common = noise(n, d, seed + 1)
    yes = common + 0.3 * noise(n, d, seed + 2) + strength * sign[:, None] * axis + 5.0
    no = common + 0.3 * noise(n, d, seed + 3) - strength * sign[:, None] * axis - 5.0
    return yes, no, truth


def test_ccs_recovers_a_planted_consistent_direction():
    yes, no, truth = pairs(200, 16, 0, 3.0)
    probe = fit_ccs(yes, no).signed(yes, no, truth)
    test_yes, test_no, test_truth = pairs(200, 16, 50, 3.0)
    assert float((probe.predict(test_yes, test_no) == test_truth).double().mean()) > 0.95
    assert probe.consistency(test_yes, test_no) < 0.2
    assert float(probe.direction[2]) > 0.9


def test_ccs_is_at_chance_on_noise():
    yes, no, truth = pairs(200, 16, 0, 0.0)
    probe = fit_ccs(yes, no).signed(yes, no, truth)
    test_yes, test_no, test_truth = pairs(400, 16, 50, 0.0)
    accuracy = float((probe.predict(test_yes, test_no) == test_truth).double().mean())
    assert 0.4 < accuracy < 0.6


def test_ccs_does_not_look_at_labels_and_its_sign_only_at_training_ones():
    yes, no, truth = pairs(200, 16, 0, 3.0)
    probe = fit_ccs(yes, no)
    flipped = probe.signed(yes, no, ~truth)
    right = probe.signed(yes, no, truth)
    assert flipped.sign == -right.sign
    torch.testing.assert_close(flipped.weights, right.weights)


def test_ccs_loss_by_hand():
    p, q = torch.tensor([0.9, 0.5]), torch.tensor([0.2, 0.5])
    assert float(ccs_loss(p, q)) == pytest.approx((0.1**2 + 0) / 2 + (0.2**2 + 0.5**2) / 2)


def test_ccs_needs_pairs():
    with pytest.raises(ContrastError, match="at least 2"):
        fit_ccs(noise(1, 4, 0), noise(1, 4, 1))
