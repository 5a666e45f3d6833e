"""Plain transformers: forward hooks on the blocks, the model called as usual."""

from shared import Job, Sums, main


def make(job: Job):
    """Hooks that add to sums."""
    model = job.model()

    def work(prompts):
        sums = Sums(job.positions)

        def hook(layer):
            return lambda _m, _a, out: sums.add(layer, out[0] if isinstance(out, tuple) else out)

        handles = [block.register_forward_hook(hook(i)) for i, block in enumerate(model.model.layers)]
        try:
            for batch in job.batches(prompts):
                model(**batch)
        finally:
            for handle in handles:
                handle.remove()
        return sums.means(len(prompts))

    return work


if __name__ == "__main__":
    main(make, ())
