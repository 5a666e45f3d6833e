"""Files in the formats of other tools, written here as those tools write them, read at the right site; each index
convention with a control that is one layer off."""

import json
import pickle

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import rhat
from rhat import vectors
from rhat.directions import Direction
from rhat.errors import DirectionError, InterventionError, SiteError
from tiny import tiny_chat_model

PROMPT = "Why is the sky blue?"
WIDTH = 48


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=4, dtype=torch.float32)


def noise(seed=0, *shape):
    return torch.randn(*(shape or (WIDTH,)), generator=torch.Generator().manual_seed(seed))


def write_gguf(path, directions):
    out = gguf.GGUFWriter(str(path), "controlvector")
    out.add_string("controlvector.model_hint", "llama")
    out.add_uint32("controlvector.layer_count", len(directions))
    for number, vector in directions.items():
        out.add_tensor(f"direction.{number}", vector.numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def with_block_output_plus(model, block, vector):
    """Last logits with `vector` added to a block's output, by a plain PyTorch hook."""
    handle = model.hf.model.layers[block].register_forward_hook(lambda _m, _a, output: output + vector)
    try:
        (ids,) = model.tokenize([PROMPT])
        with torch.no_grad():
            return model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    finally:
        handle.remove()


def config(vector, **more):
    return {"steering_vector": vector, "steering_coefficient": 1.0, "action": "add", "bias": None, **more}


def after_block_1(kind, folder, v):
    """A file of each tool whose vector is added to the output of block 1 (the second), and nothing else."""
    if kind == "gguf":
        return write_gguf(folder / "v.gguf", {1: v})
    held = {"steering-vectors": {1: v}, "lm-eval": {"layers.1": config(v)}}[kind]
    torch.save(held, folder / "v.pt")
    return folder / "v.pt"


@pytest.mark.parametrize("kind", ["gguf", "steering-vectors", "lm-eval"])
def test_output_of_block_k_is_input_of_block_k_plus_1(model, tmp_path, kind):
    v = 3 * noise(1)
    r = vectors.read(after_block_1(kind, tmp_path, v)).direction(model)
    assert (str(r.site), r.norm) == ("resid_pre.2", pytest.approx(float(v.norm())))
    ours = rhat.logits(model, [PROMPT], rhat.add(r, r.norm))[0]
    theirs, off = with_block_output_plus(model, 1, v), with_block_output_plus(model, 2, v)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert float((ours - off).abs().max()) > 0.1  # one layer off


def test_refusal_directions_layer_is_a_block_input(model, tmp_path):
    v = 3 * noise(1)
    torch.save(v.double(), tmp_path / "direction.pt")
    (tmp_path / "direction_metadata.json").write_text(json.dumps({"pos": -2, "layer": 2}))
    for path in (tmp_path, tmp_path / "direction.pt"):
        r = vectors.read(path).direction(model)
        assert (str(r.site), r.position, r.method) == ("resid_pre.2", -2, "mean_difference")
    ours = rhat.logits(model, [PROMPT], rhat.add(r, r.norm))[0]
    torch.testing.assert_close(ours, with_block_output_plus(model, 1, v), atol=1e-5, rtol=0)
    assert float((ours - with_block_output_plus(model, 2, v)).abs().max()) > 0.1


def test_llama_cpps_first_vector_is_never_the_first_blocks_input(tmp_path):
    both = write_gguf(tmp_path / "v.gguf", {1: noise(1), 3: noise(3)})
    assert vectors.format_of(both).name == "gguf"
    with pytest.raises(DirectionError, match=r"2 sites, expected one; give --site as one of resid_pre.2, resid_pre.4"):
        vectors.read(both)
    for site in ("resid_pre.4", "resid_post.3"):  # one place, two names
        torch.testing.assert_close(vectors.read(both, site=site).raw, noise(3))
    with pytest.raises(DirectionError, match=r"has nothing at resid_pre.1"):
        vectors.read(both, site="resid_pre.1")


def test_half_precision_and_quantised_control_vectors(tmp_path):
    out = gguf.GGUFWriter(str(tmp_path / "h.gguf"), "controlvector")
    out.add_tensor("direction.1", noise(1).half().numpy())
    packed = gguf.quants.quantize(noise(2, 64).numpy(), gguf.GGMLQuantizationType.Q8_0)
    out.add_tensor("direction.2", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    torch.testing.assert_close(vectors.read(tmp_path / "h.gguf", site="resid_pre.2").raw, noise(1), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        vectors.read(tmp_path / "h.gguf", site="resid_pre.3").raw, noise(2, 64), atol=0.02, rtol=0
    )


def test_a_row_of_a_decoder(model, tmp_path):
    decoder = noise(0, 100, WIDTH)
    save_file({"W_dec": decoder, "b_dec": noise(3)}, tmp_path / "sae.safetensors")
    save_file({"decoder.weight": decoder.T.contiguous()}, tmp_path / "linear.safetensors")
    torch.save({"W_dec": decoder}, tmp_path / "sae.pt")
    np.save(tmp_path / "sae.npy", decoder.numpy())
    np.savez(tmp_path / "sae.npz", W_dec=decoder.numpy())
    for name in ("sae.safetensors", "linear.safetensors", "sae.pt", "sae.npy", "sae.npz"):
        key = "W_dec" if name == "sae.safetensors" else None
        given = vectors.read(tmp_path / name, key=key, row=7, site="resid_post.1", width=WIDTH)
        torch.testing.assert_close(given.raw, decoder[7], msg=name)
        assert str(given.direction(model).site) == "resid_pre.2"
    with pytest.raises(DirectionError, match=r"got 2 tensors, expected one; give --key as one of W_dec, b_dec"):
        vectors.read(tmp_path / "sae.safetensors", row=7, site="resid_post.1")
    with pytest.raises(DirectionError, match=r"no row 100; its rows are 0 to 99"):
        vectors.read(tmp_path / "sae.npy", row=100, site="resid_post.1")
    with pytest.raises(DirectionError, match=r"got shape \(100, 48\), expected a vector, or a matrix and --row"):
        vectors.read(tmp_path / "sae.npy", site="resid_post.1")
    with pytest.raises(DirectionError, match="does not say at which layer"):
        vectors.read(tmp_path / "sae.npy", row=1)


def test_lm_evals_table_of_features(tmp_path):
    decoder, bias = noise(0, 20, WIDTH), noise(1)
    (tmp_path / "sae" / "layers.1").mkdir(parents=True)
    save_file({"W_dec": decoder, "b_dec": bias}, tmp_path / "sae" / "layers.1" / "sae.safetensors")
    table = tmp_path / "steer.csv"
    head = "loader,action,sparse_model,hookpoint,feature_index,steering_coefficient,head_index,sae_id,description,\n"
    table.write_text(head + "sparsify,clamp,sae,layers.1,7,10.0,,,,\n")
    given = vectors.read(table)
    assert str(given.site) == "resid_pre.2"
    torch.testing.assert_close(given.raw, decoder[7])
    unit = decoder[7].double() / decoder[7].double().norm()
    assert given.extra["bias_projection"] == pytest.approx(float(unit @ bias.double()), rel=1e-6)
    table.write_text(head + "sparsify,add,org/other,layers.1,7,10.0,,,,\n")
    with pytest.raises(DirectionError, match=r"org/other is not on this machine; fetch it, .* --key W_dec --row 7"):
        vectors.read(table)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"layers.1.mlp": config(noise())}, "none of them a whole block"),
        ({"layers.1": config(noise(), head_index=2)}, "is for head 2"),
        ({"layer_activations": {1: noise()}, "layer_type": "self_attn"}, "for 'self_attn', expected 'decoder_block'"),
        ({"layers.1": config(noise()), "layers.2": config(noise(2))}, "2 sites, expected one"),
        ([1, 2], "of no known format"),
    ],
)
def test_what_is_not_of_the_residual_stream_is_rejected(tmp_path, held, said):
    torch.save(held, tmp_path / "v.pt")
    with pytest.raises(DirectionError, match=said):
        vectors.read(tmp_path / "v.pt")


class Evil:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"direction": noise(), "more": Evil()}, "evil.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pkl"):
        with pytest.raises(DirectionError, match="cannot be read as tensors alone"):
            vectors.read(name, site="resid_pre.1")
    assert not (tmp_path / "ran.txt").exists()
    np.save("objects.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(DirectionError, match="cannot be read as an array"):
        vectors.read("objects.npy", site="resid_pre.1")


def test_files_that_are_none(tmp_path):
    with pytest.raises(DirectionError, match="no such file"):
        vectors.read(tmp_path / "nowhere.pt")
    for name in ("v.safetensors", "v.gguf", "v.npy"):
        (tmp_path / name).write_bytes(b"GGUF, not really")
        with pytest.raises(DirectionError, match="cannot be read as"):
            vectors.read(tmp_path / name, site="resid_pre.1")
    (tmp_path / "v.txt").write_text("0.1 0.2")
    with pytest.raises(DirectionError, match="of no known format"):
        vectors.read(tmp_path / "v.txt")
    with pytest.raises(DirectionError, match="expected one of gguf, lm-eval"):
        vectors.read(tmp_path / "v.npy", format="onnx")


def test_a_vector_of_any_length_is_normalised_and_says_so(model, caplog):
    v = np.full(WIDTH, 2.0, dtype=np.float16)
    r = Direction.of(v, site="resid_post.0", model=model)
    assert (str(r.site), r.norm) == ("resid_pre.1", pytest.approx(2 * WIDTH**0.5))
    assert "has length 13.86" in caplog.text
    caplog.clear()
    Direction.of(r.unit, site=r.site)
    assert caplog.text == ""
    assert r.model["revision_or_sha256"] == model.identity


@pytest.mark.parametrize("bad", [torch.zeros(WIDTH), torch.full((WIDTH,), float("nan")), torch.ones(2, WIDTH)])
def test_no_direction_of_nothing(bad):
    with pytest.raises(DirectionError, match="expected one finite vector that is not zero"):
        Direction.of(bad, site="resid_pre.1")


def test_sites_and_models_that_do_not_fit(model):
    with pytest.raises(DirectionError, match=r"attn_out.1: expected a vector of the residual stream"):
        Direction.of(noise(), site="attn_out.1")
    with pytest.raises(DirectionError, match="got width 12"):
        Direction.of(torch.ones(12), site="resid_pre.1", model=model)
    with pytest.raises(SiteError, match=r"the last is resid_pre.3"):
        Direction.of(noise(), site="resid_post.3", model=model)


def test_unknown_means_are_rejected_wherever_they_are_needed_and_go_through_files(tmp_path, model):
    r = Direction.of(noise(), site="resid_pre.2")
    kept = Direction.load((-2 * r).save(tmp_path / "r.safetensors"))
    assert kept.means == (None, None)
    assert "harmful mean unknown" in repr(kept)
    assert kept.describe()["mean_harmful"] is None
    for needs in (rhat.set_projection, rhat.add, rhat.subtract):
        with pytest.raises(DirectionError, match="the mean projection of harmful prompts is unknown; measure it with"):
            needs(kept)
    with pytest.raises(DirectionError, match="of harmless prompts is unknown"):
        _ = kept.mean_harmless
    assert rhat.set_projection(kept, 0.0).value == 0.0
    assert rhat.ablate(kept).op == "ablate"
    assert Direction.of(noise(), site="resid_pre.2", mean_harmful=0.0).mean_harmful == 0.0  # 0 is a mean, not a lack
    with pytest.raises(InterventionError):
        rhat.add(kept, float("nan"))
