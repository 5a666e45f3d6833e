"""nnsight: one trace a batch, every block's output at the last tokens saved."""

from nnsight import LanguageModel
from shared import Job, Sums, main
from transformers import AutoTokenizer


def make(job: Job):
    """Trace on token ids and mask."""
    model = LanguageModel(job.model(), tokenizer=AutoTokenizer.from_pretrained(job.folder))
    blocks = model.model.layers
    positions = job.positions

    def work(prompts):
        sums = Sums(positions)
        for batch in job.batches(prompts):
            with model.trace(batch):
                found = list().save()  # noqa: C408 - nnsight traces a call, not a literal
                for block in blocks:
                    output = block.output
                    hidden = output[0] if isinstance(output, tuple) else output
                    found.append(hidden[:, -positions:])
            for layer, activation in enumerate(found):
                sums.add(layer, activation)
        return sums.means(len(prompts))

    return work


if __name__ == "__main__":
    main(make, ("nnsight",))
