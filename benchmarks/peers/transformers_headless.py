"""Plain transformers by someone who knows that no logits are needed: hooks, the decoder without its head, sorted by length."""

from shared import Job, Sums, main


def make(job: Job):
    """As with hooks on the whole model, but the decoder alone is called."""
    model = job.model()

    def work(prompts):
        sums = Sums(job.positions)

        def hook(layer):
            return lambda _m, _a, out: sums.add(layer, out[0] if isinstance(out, tuple) else out)

        handles = [block.register_forward_hook(hook(i)) for i, block in enumerate(model.model.layers)]
        try:
            for batch in job.batches(sorted(prompts, key=len)):
                model.model(**batch, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return sums.means(len(prompts))

    return work


if __name__ == "__main__":
    main(make, ())
