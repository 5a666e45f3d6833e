"""steering-vectors: `record_activations` around the model's calls, as its own extraction does, in batches of 32."""

from shared import Job, Sums, main
from steering_vectors import record_activations


def make(job: Job):
    """Record every block, then sum."""
    model = job.model()

    def work(prompts):
        sums = Sums(job.positions)
        for batch in job.batches(prompts):
            with record_activations(model, layer_type="decoder_block") as recorded:
                model(**batch)
            for layer, found in recorded.items():
                sums.add(layer, found[-1])
        return sums.means(len(prompts))

    return work


if __name__ == "__main__":
    main(make, ("steering-vectors",))
