"""The five primary claims, Holm-adjusted together; everything else a study reports is exploratory."""

# id, claim, treatment, reference, prompts
PRIMARY = (
    (
        "set_vs_baseline",
        "Setting r̂ to its harmful mean makes the model refuse harmless requests",
        "set_projection",
        "baseline",
        "harmless",
    ),
    ("add_vs_set", "Adding the harmful mean is as good as setting it", "add_average", "set_projection", "harmless"),
    (
        "random_vs_baseline",
        "Random directions of the same displacement make it refuse too",
        "random_set_projection",
        "baseline",
        "harmless",
    ),
    (
        "ablate_vs_baseline",
        "Ablating r̂ keeps the model from refusing harmful requests",
        "ablate",
        "baseline",
        "harmful",
    ),
    (
        "heads_vs_random",
        "Patching six heads at one token makes it refuse more than patching six random ones",
        "heads:6",
        "random_heads:6",
        "harmless",
    ),
)
