"""The choice of sigma and of the number of stages, by numbers and by a training of small networks."""

import json

import pytest
from running_examples import load_example


def test_stages_are_added_until_the_score_no_longer_improves():
    select = load_example("select_deeppose").select
    after = {1.5: [0.5, 0.6, 0.6, 0.9], 2.0: [0.5, 0.55, 0.7, 0.65, 1.0], 2.3: [0.5, 0.4, 1.0]}
    trained = []

    def add_stage(cascade, sigma):
        stage = 1 if cascade is None else cascade[1] + 1
        trained.append((sigma, stage))
        return sigma, stage

    sigma, stages, scores = select(list(after), add_stage, lambda cascade: after[cascade[0]][cascade[1] - 1], most=5)
    assert (sigma, stages) == (2.0, 3)
    assert scores == {1.5: [0.5, 0.6, 0.6], 2.0: [0.5, 0.55, 0.7, 0.65], 2.3: [0.5, 0.4]}
    assert trained == [(1.5, 1), (1.5, 2), (1.5, 3), (2.0, 2), (2.0, 3), (2.0, 4), (2.3, 2)]  # the first stage once
    assert select([1.0], add_stage, lambda cascade: cascade[1], most=3)[1] == 3
    assert select([1.0], add_stage, lambda cascade: -cascade[1], most=3)[1] == 1  # no second stage


def test_select_deeppose_trains_and_chooses(lspet, tmp_path, capsys):
    example = load_example("select_deeppose")
    assert example.HELD_OUT == 50
    run = tmp_path / "run"
    choice = example.main([
        "--data", str(lspet), "--train-images", "1", "10", "--val-images", "11", "12", "--held-out", "4",
        "--batch-size", "4", "--workers", "0", "--widths", "4", "4", "6", "6", "4", "16", "16", "--epochs", "1",
        "--output", str(run), "--most", "2", "--sigmas", "1", "2",
    ])  # fmt: skip
    assert choice == json.loads((run / "choice.json").read_text())
    assert choice["sigma"] in (1, 2)
    assert 1 <= choice["stages"] <= 2
    assert [len(row) for row in choice["pdj@0.2"].values()] == [2, 2]
    assert choice["pdj@0.2"]["1"][0] == choice["pdj@0.2"]["2"][0]
    assert f"chosen: --sigma {choice['sigma']:g} --stages {choice['stages']}" in capsys.readouterr().out
    import posezoo

    for sigma in (1, 2):
        model = posezoo.create(f"local-dir:{run / f'sigma{sigma}' / 'stage2' / 'model'}", pretrained=True)
        assert (model.num_stages, model.sigma) == (2, pytest.approx(sigma))
