"""Which models there are, what they say of themselves, and what asking for them costs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import models
from models.recommend import scores
from tests.models.checkerboard import EXAMPLES, fitted, trained, weighted

OURS = {"popularity", "segments", "als", "ease", "graph", "item_to_item", "blend", "sequence", "two_tower"}


def test_files_that_set_model_are_models_and_others_are_not() -> None:
    assert set(models.names()) >= OURS
    assert not set(models.names()) & {"base", "recommend", "registry", "als_solver", "sequence_network"}


@pytest.mark.parametrize(("name", "nearest"), [("recommend", ""), ("segment", r"\. Did you mean 'segments'\?")])
def test_an_unknown_name_is_an_error_that_names_those_there_are_and_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(models.UnknownModelError, match=rf"'{name}'; there are als, blend, .*, two_tower{nearest}$"):
        models.definition(name)


def test_asking_for_one_model_imports_its_file_alone_and_no_large_library() -> None:
    code = "import sys, models; models.definition('sequence'); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=Path(models.__file__).parents[1])
    assert "models.sequence" in loaded.split()
    assert not {"models.als", "models.two_tower", "torch", "numba", "mlflow", "training"} & set(loaded.split())


def test_loading_needs_what_the_model_and_its_members_need(tmp_path: Path) -> None:
    small = {"sequence.factors": 4, "sequence.epochs": 1}
    blend = fitted("blend", weighted(), members="popularity, sequence", held_out_days=0, **small)
    for name, model in {"als": trained("als"), "sequence": trained("sequence"), "blend": blend}.items():
        model.save(tmp_path / name)
    assert models.requirements(tmp_path / "als") == ["numpy", "pydantic", "scipy"]
    assert models.requirements(tmp_path / "sequence") == ["numpy", "pydantic", "scipy", "torch"]
    assert models.requirements(tmp_path / "blend") == ["numpy", "pydantic", "scipy", "torch"]


OLD_NAMES = {
    "sequence": {
        "learning_rate": "rate", "weight_decay": "decay", "item_dropout": "hidden", "logit_scale": "personal",
        "popularity_weight": "trust",
    },
    "two_tower": {"learning_rate": "rate", "history_dropout": "hidden_histories", "user_features": "user_words"},
    "segments": {"max_features": "most", "features": "words"},
    "blend": {"validation_users": "judges", "member_params": "theirs"},
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_model_saved_when_its_parameters_and_arrays_had_other_names_still_loads(name: str, tmp_path: Path) -> None:
    model, old = trained(name), OLD_NAMES[name]
    model.save(tmp_path)
    saved = json.loads((tmp_path / "model.json").read_text())
    saved["params"] = {old.get(key, key): value for key, value in saved["params"].items()}
    (tmp_path / "model.json").write_text(json.dumps(saved))
    for file in tmp_path.glob("*.npy"):
        file.rename(file.with_stem(old.get(file.stem, file.stem)))
    again = models.load(tmp_path)
    assert again.params == model.params
    np.testing.assert_allclose(scores(again, EXAMPLES.histories), scores(model, EXAMPLES.histories), atol=1e-6)
