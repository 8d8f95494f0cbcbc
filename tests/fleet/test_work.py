"""A site's rounds as its processes run them: each builds anew, and goes on with what the last one kept."""

import json

import numpy as np

from robolearn.fleet.rounds import Request
from robolearn.fleet.settings import Federation, Folder
from robolearn.fleet.setup import to_yaml
from robolearn.fleet.work import first_vector, train_round

SMALL = {
    "num_envs": 16,
    "env": {"episode_s": 2.0},
    "ppo": {"actor_hidden": [8], "critic_hidden": [8], "minibatches": 2, "rollout_steps": 8, "epochs": 1},
    "groups": 2,
}


def test_a_second_process_goes_on_with_the_episodes_adam_and_the_personal_parts(tmp_path):
    given = {"schema": "robolearn.federation/1", "name": "arms", "task": "fr3/reach", "train": SMALL}
    federation = Federation.model_validate(given | {"rounds": 2, "local_iterations": 1})
    folder = Folder(tmp_path)
    (folder / "federation.yaml").write_text(to_yaml(federation))
    site = {"schema": "robolearn.site/1", "name": "north", "personal": ["actor/1"]}
    (folder / "site.yaml").write_text(json.dumps(site))
    layout, vector = first_vector(federation)
    mask, steps, own = layout.mask(["actor/1"]), [], []
    for number in (1, 2):
        new = train_round(folder, vector, Request(number, number - 1, 1, layout.digest, federation.digest))
        np.testing.assert_array_equal(new[mask], vector[mask])
        assert (new[~mask] != vector[~mask]).any()
        with np.load(folder / "training.npz") as kept:
            steps.append(next(kept[name] for name in kept.files if name.endswith("step_count")))
            own.append(kept["personal"])
        vector = new
    assert (steps[1] - steps[0] == SMALL["ppo"]["rollout_steps"]).mean() > 0.5  # few episodes end in a round
    assert (own[0] != own[1]).any()
    records = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    assert [record["round"] for record in records] == [1, 2]
    assert all(record["train_s"] > 0.0 for record in records)
