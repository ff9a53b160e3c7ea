"""The models as an MLflow pyfunc: rows of (user_id, likes oldest first, k) -> (user_id, items, scores), best first.

An optional column `features` has the features of each user, such as `city=Ulm`, for the models that take them.
MLflow runs this file when it loads a model version (models from code). What a user liked is left out of the list.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

import models
from models.base import Histories
from models.recommend import recommend


class Recommender(PythonModel):
    """Wraps whatever model the version's files hold."""

    def load_context(self, context: Any) -> None:
        self.model = models.load(Path(context.artifacts["files"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Lists of k items; shorter where a user has fewer left."""
        liked = [list(items) for items in model_input["items"]]
        histories = Histories.from_lists(
            self.model.item_ids, liked, [[1.0] * len(items) for items in liked], [range(len(items)) for items in liked],
            features=model_input.get("features"),
        )  # fmt: skip
        longest = int(model_input["k"].max())
        liked_BI = histories.matrix(len(self.model.item_ids))
        ids, scores = recommend(self.model, histories, longest, seen=liked_BI)
        keep = [np.flatnonzero(row[:k] >= 0) for row, k in zip(ids, model_input["k"], strict=True)]
        return pd.DataFrame(
            {
                "user_id": model_input["user_id"].tolist(),
                "items": [self.model.item_ids[ids[n, places]].tolist() for n, places in enumerate(keep)],
                "scores": [scores[n, places].tolist() for n, places in enumerate(keep)],
            }
        )


set_model(Recommender())
