import pytest
import torch

from labs import tiny_lab
from rhat.errors import SiteError
from rhat.heads import attribute, patch_heads
from rhat.model import Read, last_logits, merge
from rhat.questions.heads.measure import chosen_greedily, random_heads
from rhat.sites import Site


@pytest.fixture(scope="module")
def lab():
    lab = tiny_lab(n_layers=4)
    from labs import tiny_finding

    lab.finding = tiny_finding(lab.model, lab.prompts, layer=3)
    lab.given = lab.finding.direction
    return lab


def texts(lab, label):
    return [p.text for p in lab.prompts.select(label, "train")]


def mean_at_last(lab, prompts, site):
    got = {}

    def keep(x, c):
        if int(c.rows[0]) >= 0:
            got.update(
                {
                    int(r): x[i, int(n) - 1 - int(c.positions[i, 0])]
                    for i, (r, n) in enumerate(zip(c.rows, c.prompt_length, strict=True))
                }
            )

    for _ in last_logits(lab.model, lab.model.plan(prompts), {site: Read(keep)}):
        pass
    return torch.stack(list(got.values())).mean(0)


def test_contributions_add_up_to_what_attention_writes(lab):
    """Summed over heads, the attribution is the gap in attn_out along r̂ (this family has no output bias)."""
    found = attribute(lab.model, lab.direction, texts(lab, "harmful"), texts(lab, "harmless"))
    assert found.contributions.shape == (3, lab.model.layout.n_heads)
    for layer in range(3):
        gap = mean_at_last(lab, texts(lab, "harmful"), Site("attn_out", layer)) - mean_at_last(
            lab, texts(lab, "harmless"), Site("attn_out", layer)
        )
        truth = float(gap.double() @ lab.direction.unit.double())
        assert float(found.contributions[layer].sum()) == pytest.approx(truth, rel=1e-9, abs=1e-9)


def test_ranking_is_largest_first(lab):
    ranking = attribute(lab.model, lab.direction, texts(lab, "harmful"), texts(lab, "harmless")).ranking()
    values = [v for _, v in ranking]
    assert values == sorted(values, reverse=True)
    assert len({h for h, _ in ranking}) == 3 * lab.model.layout.n_heads


def test_patching_replaces_those_heads_at_the_last_prompt_token_only(lab):
    found = attribute(lab.model, lab.direction, texts(lab, "harmful"), texts(lab, "harmless"))
    heads = [(1, 0), (1, 2)]
    n_heads = lab.model.layout.n_heads
    edits = patch_heads(found, heads).edits(lab.model)
    seen, before = [], []
    plan = lab.model.plan(texts(lab, "harmless")[:4], share_prefix=False)
    site = Site("head_out", 1)
    for _ in last_logits(lab.model, plan, {site: Read(lambda x, c: before.append((x, c)))}):
        pass
    for _ in last_logits(lab.model, plan, merge(edits, {site: Read(lambda x, c: seen.append((x, c)))})):
        pass
    for (x, c), (y, _) in zip(seen, before, strict=True):
        x, y = (t.unflatten(-1, (n_heads, -1)) for t in (x, y))
        last = c.positions == c.prompt_length[:, None] - 1
        for head in range(n_heads):
            changed = (x[:, :, head] != y[:, :, head]).any(-1) & c.real
            if (1, head) in heads:
                assert torch.equal(changed, last & c.real)
                torch.testing.assert_close(x[:, :, head][last], found.harmful[1, head].expand(int(last.sum()), -1))
            else:
                assert not changed.any()


def test_patching_every_head_with_its_own_values_changes_nothing(lab):
    found = attribute(lab.model, lab.direction, texts(lab, "harmful")[:1], texts(lab, "harmless")[:1])
    plan = lab.model.plan(texts(lab, "harmful")[:1])
    every = [(layer, h) for layer in range(3) for h in range(lab.model.layout.n_heads)]
    plain = torch.cat([x for _, x in last_logits(lab.model, plan)])
    patched = torch.cat([x for _, x in last_logits(lab.model, plan, patch_heads(found, every).edits(lab.model))])
    torch.testing.assert_close(patched, plain, rtol=1e-9, atol=1e-9)


def test_random_heads_are_as_many_of_the_same_layers(lab):
    like = [(0, 1), (2, 0), (2, 3)]
    picked = random_heads(like, lab, 0)
    assert sorted(h[0] for h in picked) == [0, 2, 2]
    assert not set(picked) & set(like)
    assert picked == random_heads(like, lab, 0)


def test_greedy_takes_the_best_head_first(lab):
    found = attribute(lab.model, lab.direction, texts(lab, "harmful"), texts(lab, "harmless"))
    shortlist = [h for h, _ in found.ranking()[:4]]
    chosen = chosen_greedily(lab, found, shortlist)
    n = len(lab.finding.kept["validation"]["harmless"])
    alone = {h: float(lab.score(patch_heads(found, [h]), "harmless", n, "validation")[0].mean()) for h in shortlist}
    assert chosen[0] == max(alone, key=alone.get)
    assert sorted(chosen) == sorted(shortlist)


def test_no_heads_below_layer_0(lab):
    from dataclasses import replace

    with pytest.raises(SiteError, match="no head writes"):
        attribute(lab.model, replace(lab.direction, site=Site("resid_pre", 0)), ["a"], ["b"])
