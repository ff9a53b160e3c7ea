"""[training]: when models are trained again, and on which machines."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from nightloom.section import Section


class Training(Section):
    holdout_days: int = Field(14, ge=1)
    """The last days before the night, which no challenger trains on: gate 2 judges on them."""
    every_days: int = Field(7, ge=1)
    """Retrain when the last training was this many nights ago."""
    new_rows_share: float = Field(0.2, gt=0)
    """Retrain earlier when interactions grew by this share since the last training."""
    max_drift: float = Field(0.25, gt=0)
    """Retrain earlier when the last `holdout_days` differ from as many days up to the last training by more than this:
    population stability index of event types, or of how popular the items were that people came for."""
    max_outcome_loss: float = Field(0.2, gt=0, le=1)
    """Retrain earlier when, on two of the last five days and on the newest, the share of users who found something they
    liked in their list was lower by this share than on the first days after the last training (gold.outcomes)."""
    search_minutes: float = Field(0, ge=0)
    """Minutes of each training to spend on a search for better hyper-parameters, shared by the models with a `search`;
    judged on the last `holdout_days` of what is trained on, never on the days that gate 2 judges on."""
    search_trials: int = Field(30, ge=1)
    """Trials of a model after which its search ends, if the minutes have not ended it: where it is these that do, the
    same data give the same hyper-parameters."""
    ranks: int | None = Field(None, ge=1)
    """Horovod ranks; default as many as `hosts` say, or as there are GPUs here, else 2."""
    min_ranks: int | None = Field(None, ge=1)
    """Elastic training: when a rank is lost, the others go on from the last epoch, down to so many, and a new one joins
    when its host is back. Left out, a lost rank ends the training, which goes on from the last epoch when run again."""
    launcher: Literal["horovodrun", "spark"] = "horovodrun"
    """`horovodrun`: ranks on this machine, or on `hosts` by ssh; `spark`: ranks inside the cluster of places.spark."""
    hosts: tuple[str, ...] = ()
    """HOST:RANKS, one each, the first of them this machine. All see places.home and this checkout at the same paths."""
    compression: Literal["none", "fp16"] = "none"
    """How gradients travel between ranks: `fp16` sends half the bytes, rounded. Sparse ones are never rounded."""
    fusion_mb: int = Field(128, ge=0)
    """Gradients are joined into messages of up to so many MB; 0 sends each on its own. With 3 ranks or more the joining
    may change the order in which numbers are added from run to run, and so the last bits of the weights."""
    seed: int = 7
    """Seed of every random choice in training."""

    @model_validator(mode="after")
    def _hosts_and_their_ranks(self) -> Self:
        if strange := [host for host in self.hosts if not re.fullmatch(r"[\w.-]+:[1-9]\d*", host)]:
            raise ValueError(f"hosts has '{strange[0]}'; each is HOST:RANKS, such as 'gpu1:4'")
        if self.launcher == "spark" and self.hosts:
            raise ValueError("hosts is for launcher = 'horovodrun'; Spark chooses its machines by itself")
        return self

    @model_validator(mode="after")
    def _elastic(self) -> Self:
        if self.min_ranks and self.launcher == "spark":
            raise ValueError("min_ranks is for launcher = 'horovodrun'; on Spark a training is run again instead")
        if self.min_ranks and self.ranks and self.min_ranks > self.ranks:
            raise ValueError(f"min_ranks is {self.min_ranks}, more than ranks = {self.ranks}")
        if self.min_ranks and len(self.hosts) == 1:
            raise ValueError("min_ranks needs two hosts or more, or none: a host that lost a rank is left for a while")
        return self
